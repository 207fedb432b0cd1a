"use strict";
// Open the map to which a link leads.
function openTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target?.tagName === "DETAILS") target.open = true;
}
addEventListener("hashchange", openTarget);
openTarget();

// Save a rating as a JSON file; the browser writes it to its folder of downloads.
for (const form of document.querySelectorAll("form.rating")) form.addEventListener("submit", event => {
  event.preventDefault();
  const rating = {
    acquisition: form.dataset.acquisition,
    rating: form.elements.rating.value,
    comment: form.elements.comment.value,
    rater: form.elements.rater.value,
    date: new Date().toISOString(),
    verdicts: JSON.parse(form.dataset.verdicts),
    software: document.querySelector("meta[name=generator]").content,
    report: document.querySelector("meta[name=fingerprint]")?.content ?? null,
  };
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(rating, null, 2) + "\n"], {type: "application/json"}));
  link.download = `${form.dataset.source}_rating.json`;
  link.click();
  URL.revokeObjectURL(link.href);
});
