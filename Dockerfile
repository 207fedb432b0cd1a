# docker build -t bids-qcm .
#
# All Python packages are locked with hashes in requirements*.lock (`make lock`). The two base images
# are pinned by their tags. To reproduce the operating system years later, also pin the digests:
#   --build-arg PYTHON=python:3.12-slim-bookworm@sha256:... --build-arg BASE=debian:bookworm-slim@...
ARG PYTHON=python:3.12-slim-bookworm
ARG BASE=debian:bookworm-slim

FROM ${PYTHON} AS build
WORKDIR /src
COPY requirements-build.lock requirements.lock ./
# The build tools are installed separately and are also locked, because one dependency has no wheel.
RUN python -m venv /tools \
    && /tools/bin/pip install --no-cache-dir --no-deps --require-hashes -r requirements-build.lock
RUN /tools/bin/pip wheel --no-cache-dir --no-deps --require-hashes --no-build-isolation \
        --wheel-dir /wheels -r requirements.lock \
    && python -m pip install --no-cache-dir --no-index --no-deps --no-compile /wheels/*.whl \
    && python -m pip uninstall --yes --quiet pip \
    && cd /usr/local/lib/python3.12 \
    && rm -rf config-3.12-* ensurepip idlelib pydoc_data test turtledemo \
    && find site-packages -type d \( -name tests -o -name examples \) -prune -exec rm -r {} + \
    && find . -type d -name __pycache__ -prune -exec rm -r {} + \
    # the sources never change, so Python does not need to compare them with the byte code at startup
    && python -m compileall -q -j 0 --invalidation-mode unchecked-hash .
COPY pyproject.toml README.md LICENSE ./
COPY bids_qcm bids_qcm
RUN /tools/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /app . \
    && /tools/bin/pip --python /usr/local/bin/python install --no-index --no-deps --no-compile \
        --prefix /install /app/*.whl \
    && python -m compileall -q --invalidation-mode unchecked-hash /install

FROM ${BASE} AS app
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates libbz2-1.0 libffi8 liblzma5 \
        libsqlite3-0 libssl3 libuuid1 zlib1g \
    && apt-get clean && rm -rf /var/lib/apt/lists/*
COPY --from=build /usr/local /usr/local
COPY --from=build /install /usr/local
# For any user, the app writes only to the output directory, the work directory and /tmp.
ENV LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONNOUSERSITE=1 \
    MPLCONFIGDIR=/tmp/matplotlib \
    NUMBA_CACHE_DIR=/opt/bids-qcm/numba
RUN ldconfig
WORKDIR /tmp

# Run all methods once so that numba caches their machine code for this type of processor.
FROM app AS compiled
RUN bids-qcm-phantom create phantom --resolution 4 \
    && bids-qcm phantom maps participant --fit-radius 9 --integral-radius 9 --method all \
        integral-ivw integral-mag-ivw integral-seg-ivw integral-magseg-ivw inversion-magseg \
    # the cache folders are private, but every user of the image must be able to read them
    && chmod -R a+rX /opt/bids-qcm

FROM app
COPY --from=compiled /opt/bids-qcm /opt/bids-qcm
ARG VERSION=0.2.0
ARG REVISION=unknown
# tag of the image that derivatives record in GeneratedBy
ARG TAG=bids-qcm:latest
RUN test "$(bids-qcm --version)" = "bids-qcm ${VERSION}"
ENV BIDS_QCM_CONTAINER_TAG=${TAG}
# unprivileged user without a home directory; `docker run -u` selects another user
USER 1000:1000
LABEL org.opencontainers.image.title="bids-qcm" \
      org.opencontainers.image.description="Quantitative conductivity mapping from the phase of ordinary MRI, as a BIDS App" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
ENTRYPOINT ["bids-qcm"]
