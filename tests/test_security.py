"""Nothing that a file says is run: no pickle, no eval, no shell, but for the one place that SECURITY.md names."""

import ast
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# file -> what it may do. Its function checks the SHA-256 of a checkpoint before the pickle is opened.
ALLOWED = {("augment/pose/estimator/openpifpaf_adapter.py", "torch.load")}

_NAMES = {"eval", "exec", "compile", "__import__"}
_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}
_CALLS = {"os.system", "os.popen", "torch.hub.load", "torch.hub.load_state_dict_from_url", "torch.jit.load"}
_SAFE = {  # call -> the argument that makes it safe
    "torch.load": ("weights_only", True), "np.load": ("allow_pickle", False), "numpy.load": ("allow_pickle", False),
}  # fmt: skip
_ONLY_NAMED = {"UnpicklingError"}  # of a module: an exception, nothing that reads


def dangers(source: str) -> list[str]:
    """What in a module could run what it reads."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in _MODULES:
            found += [f"{node.value.id}.{node.attr}"] if node.attr not in _ONLY_NAMED else []
        elif isinstance(node, ast.ImportFrom) and node.module in _MODULES:
            found.append(f"from {node.module}")
        elif isinstance(node, ast.Call):
            found += _call(node)
    return found


def _call(node: ast.Call) -> list[str]:
    name = ast.unparse(node.func)
    named = {keyword.arg: keyword.value for keyword in node.keywords}
    constants = {key: value.value for key, value in named.items() if isinstance(value, ast.Constant)}
    bad = name in _NAMES | _CALLS or name.endswith(("read_pickle", "to_pickle"))
    bad |= bool(constants.get("shell")) or bool(constants.get("allow_pickle"))
    bad |= "shell" in named and "shell" not in constants
    if name in _SAFE:
        argument, safe = _SAFE[name]
        bad |= constants.get(argument) is not safe
    if name in ("yaml.load", "yaml.load_all"):
        bad |= "Loader" not in named or ast.unparse(named["Loader"]) not in ("Loader", "yaml.SafeLoader")
    return [name] if bad else []


def test_nothing_that_is_read_can_run():
    found = {
        (path.relative_to(ROOT).as_posix(), danger)
        for folder in ("augment", "flows") for path in (ROOT / folder).rglob("*.py")
        for danger in dangers(path.read_text(encoding="utf-8"))
    }  # fmt: skip
    assert found == ALLOWED


def test_the_loader_of_yaml_makes_no_objects():
    import yaml

    from augment.config.yaml_files import Loader

    assert issubclass(Loader, yaml.SafeLoader)
    with pytest.raises(yaml.YAMLError):
        yaml.load("!!python/object/apply:os.getcwd []", Loader=Loader)


@pytest.mark.parametrize("source", [
    "eval(text)", "exec(text)", "import pickle\npickle.loads(data)", "from pickle import loads", "os.system(text)",
    "torch.load(path)", "torch.load(path, weights_only=False)", "torch.load(path, weights_only=flag)", "np.load(path)",
    "np.load(path, allow_pickle=True)", "pd.read_pickle(path)", "yaml.load(text)",
    "yaml.load(text, Loader=yaml.Loader)",
    "subprocess.run(text, shell=True)", "subprocess.run(text, shell=flag)", "torch.hub.load('a/b', 'c')",
])  # fmt: skip
def test_each_danger_is_found(source):
    assert len(dangers(textwrap.dedent(source))) == 1


@pytest.mark.parametrize("source", [
    "network.eval()", "torch.load(path, weights_only=True)", "np.load(path, allow_pickle=False)",
    "try: pass\nexcept pickle.UnpicklingError: pass", "yaml.load(text, Loader=Loader)", "subprocess.run([a, b])",
])  # fmt: skip
def test_what_is_safe_is_not(source):
    assert dangers(source) == []
