"""The forms of the methods. Each form has a module, which computes and describes it."""

from importlib import import_module

from bids_qcm.recon.forms.base import Form, Laplacian
from bids_qcm.recon.methods import Method

__all__ = ["Form", "Laplacian", "form_of"]


def form_of(method: Method) -> Form:
    """Return the form of a method.

    The module of a form is imported when the form is first used, because numba and SciPy take a
    second to import and the command line needs only the table of methods.

    Parameters
    ----------
    method : Method
        A row of the method table.

    Returns
    -------
    Form
        ``FORM`` of the module named in ``method.form``.
    """
    form: Form = import_module(f"{__name__}.{method.form}").FORM
    return form
