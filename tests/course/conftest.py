import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_raw_cell

OPENING = """(ex-planes)=
# Exercises: Planes

Four exercises on the chapter about planes, 40 minutes."""

STATEMENT = """## Exercise {number}: {title}

*{kind} · 10 minutes · difficulty 1 of 3 · goal 1*

{text} Deliverable: {deliverable}."""

SHEAR = '''def shear(x, k):
    """Shear the points x (N, 2) along the first axis by k."""
    ### BEGIN SOLUTION
    matrix_of_shear = np.array([[1.0, k], [0.0, 1.0]])
    return x @ matrix_of_shear.T
    ### END SOLUTION'''

SHEAR_TEST = """points = np.array([[1.0, 2.0], [0.0, 1.0]])
assert np.allclose(shear(points, 0.0), points), "k = 0 changes nothing"
### BEGIN HIDDEN TESTS
assert np.allclose(shear(points, 3.0)[:, 1], [2.0, 1.0]), "the second coordinate stays, ∀ k ≤ 3"
assert np.allclose(shear(points, 3.0)[:, 0], [7.0, 3.0]), "the first coordinate moves by <k> times the second"
### END HIDDEN TESTS"""

DETERMINANT = '''def determinant(A):
    """Return the determinant of a 2 by 2 matrix."""
    ### BEGIN SOLUTION
    diagonal_product, other_product = A[0, 0] * A[1, 1], A[0, 1] * A[1, 0]
    return diagonal_product - other_product  # "signed" area & nothing else
    ### END SOLUTION'''

DETERMINANT_TEST = """assert abs(determinant(np.eye(2)) - 1) < 1e-12, "the identity keeps areas"
### BEGIN HIDDEN TESTS
swapped_rows = np.array([[0.0, 1.0], [1.0, 0.0]])
assert determinant(swapped_rows) == -1, "a swap turns the sign"
### END HIDDEN TESTS"""

AREA_SOLUTION = "A shear moves each horizontal line along itself, so **every area** is kept: $|\\det A| = 1$."
SWAP_SOLUTION = "Swapping two rows reverses the *orientation of the plane*, therefore the determinant changes its sign."


def marks(grade_id, **changes):
    base = {"grade": False, "grade_id": grade_id, "locked": False, "schema_version": 3, "solution": False}
    return {"nbgrader": {**base, "task": False, **changes}}


def code_exercise(grade_id, answer, test, wrong, forbid=()):
    course = {"course": {"forbid": list(forbid)}} if forbid else {}
    answer = new_code_cell(answer, id=grade_id, metadata={**marks(grade_id, solution=True), **course})
    test_marks = marks(f"{grade_id}-test", grade=True, locked=True, points=2)
    test = new_code_cell(test, id=f"{grade_id}-test", metadata=test_marks, execution_count=3)
    return [
        answer,
        test,
        *(
            new_raw_cell(text, id=f"{grade_id}-wrong-{number}", metadata={"course": {"wrong": grade_id}})
            for number, text in enumerate(wrong, start=1)
        ),
    ]


def opening_cell(number, title, kind, text="Do it.", deliverable="a function"):
    source = STATEMENT.format(number=number, title=title, kind=kind, text=text, deliverable=deliverable)
    return new_markdown_cell(source, id=f"statement-{number}")


def text_answer(grade_id, text):
    return new_markdown_cell(text, id=grade_id, metadata=marks(grade_id, grade=True, solution=True, points=3))


def make_notebook():
    """Two code and two derive exercises, so an odd and an even one of each."""
    wrong_shears = ["def shear(x, k):\n    return x + k * x[:, ::-1]", "def shear(x, k):\n    return x * (1.0 + k)"]
    wrong_determinants = [
        "def determinant(A):\n    return A[0, 0] * A[1, 1] + A[0, 1] * A[1, 0]",
        "def determinant(A):\n    return A[0, 1] * A[1, 0] - A[0, 0] * A[1, 1]",
        "from numpy.linalg import det\n\n\ndef determinant(A):\n    return det(A)",
    ]
    cells = [
        new_markdown_cell(OPENING, id="opening"),
        new_code_cell("import numpy as np", id="imports"),
        opening_cell(1, "The shear", "code"),
        *code_exercise("shear", SHEAR, SHEAR_TEST, wrong_shears),
        opening_cell(2, "Signed area", "code, find the bug"),
        *code_exercise("determinant", DETERMINANT, DETERMINANT_TEST, wrong_determinants, forbid=["np.linalg.det"]),
        opening_cell(3, "Areas under a shear", "derive", deliverable="a proof"),
        text_answer("areas", AREA_SOLUTION),
        opening_cell(4, "The sign of a swap", "derive", deliverable="a proof"),
        text_answer("swap", SWAP_SOLUTION),
    ]
    metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    nb = new_notebook(cells=cells, metadata=metadata)
    cell_of(nb, "shear-test").outputs = [nbformat.v4.new_output("stream", text="stored output of the tests\n")]
    return nb


@pytest.fixture
def nb():
    return make_notebook()


def cell_of(nb, grade_id):
    return next(cell for cell in nb.cells if cell.id == grade_id)


@pytest.fixture
def source(nb, tmp_path):
    """The notebook as a file of a book: book/plane/exercises/planes.ipynb."""
    path = tmp_path / "book" / "plane" / "exercises" / "planes.ipynb"
    path.parent.mkdir(parents=True)
    nbformat.write(nb, path)
    return path
