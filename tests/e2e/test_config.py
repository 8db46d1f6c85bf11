"""The configuration file: what wins over what, the words of errors with their line and key,
--print-config, check-config, and the schema, which another program judges."""
import json
import re

import fastjsonschema
import pytest

from calls import call, fails, serving, succeeds
from harness import SOURCE, plugin

DOCUMENT = SOURCE / "docs/configuration.md"
SCHEMA = SOURCE / "schema/graphpipe-config.schema.json"


def written(folder, settings, name="gp.json"):
    """A file with these settings: text as it is, all else as JSON, a key in each line."""
    text = settings if isinstance(settings, str) else json.dumps(settings, indent=1)
    (folder / name).write_text(text)
    return folder / name


def printed(*words, env=None):
    """{section: {name: (value, where from)}} of serve --print-config; "" are the server's."""
    found = {"": {}}
    section = found[""]
    for line in succeeds("serve", "--print-config", *words, env=env).splitlines():
        if line.startswith("["):
            section = found.setdefault(line.strip("[]"), {})
        elif line:
            name, value, origin = re.fullmatch(r"(\S+) = (.*?) +# (.*)", line).groups()
            section[name] = (value.strip(), origin)
    return found


# --- precedence -------------------------------------------------------------------------


def test_flag_environment_file_default(tmp_path):
    path = written(tmp_path, {"listen": [":1", ":2"], "max-body": "3M", "instances": 4,
                              "verbose": True, "engine-option": {"a": 1, "b": "x"}})
    env = {"GP_MAX_BODY": "2M", "GP_INSTANCES": "5", "GP_LISTEN": "", "GP_CONFIG": str(path)}
    server = printed("--max-body", "1M", env=env)[""]
    assert server["max-body"] == ("1MiB", "command line")
    assert server["instances"] == ("5", "GP_INSTANCES")
    assert server["listen"] == (":1,:2", f"{path}:2")
    assert server["verbose"] == ("true", f"{path}:8")
    assert server["engine-option"] == ("a=1,b=x", f"{path}:9")
    assert server["idle-timeout"] == ("75s", "default")
    assert server["timeout"] == ("0ms", "not set")
    assert server["config"] == (str(path), "GP_CONFIG")
    other = written(tmp_path, {"timeout": "2s"}, "other.json")
    server = printed("--config", other, env=env)[""]
    assert server["timeout"] == ("2s", f"{other}:2") and server["listen"][1] == "default"


def test_models_inherit(tmp_path):
    path = written(tmp_path, {"instances": 2, "threads": 3, "models": {
        "one": {"path": "1.onnx", "instances": 7, "threads": 8},
        "two": {"path": "2.onnx", "aliases": {"stable": 1}, "versions": [1, 2]}}})
    found = printed("--config", path, "--threads", "9")
    one, two = found["models.one"], found["models.two"]
    assert one["path"] == ("1.onnx", f"{path}:6")
    assert one["instances"] == ("7", f"{path}:7") and two["instances"] == ("2", f"{path}:2")
    assert one["threads"] == two["threads"] == ("9", "command line")
    assert two["aliases"] == ("stable=1", f"{path}:12") and one["aliases"] == ("", "not set")
    assert two["versions"][0] == "1,2" and one["versions"] == ("newest", "default")
    assert "listen" not in one


def test_models_of_the_command_line(tmp_path):
    path = written(tmp_path, {"models": {"one": {"path": "1.onnx", "instances": 7},
                                         "two": {"path": "2.onnx"}}})
    found = printed("--config", path, "one=new.onnx", "three=3.onnx")
    assert set(found) == {"", "models.one", "models.three"}
    assert found["models.one"]["path"] == ("new.onnx", "command line")
    assert found["models.one"]["instances"] == ("7", f"{path}:5")
    found = printed("--config", path, env={"GP_MODEL": "two=new.onnx,four=4.onnx"})
    assert set(found) == {"", "models.two", "models.four"}
    assert found["models.two"]["path"] == ("new.onnx", "GP_MODEL")
    assert found[""]["model"] == ("two=new.onnx,four=4.onnx", "GP_MODEL")


def test_a_repository_has_settings_of_its_models(tmp_path):
    path = written(tmp_path, {"repository": "/srv", "models": {"one": {"instances": 7},
                                                               "two": {"path": "2.onnx"}}})
    assert set(printed("--config", path)) == {"", "models.one", "models.two"}
    assert set(printed("--config", path, "three=3.onnx")) == {"", "models.one", "models.three"}


def test_names_on_the_command_line():
    assert 'two models are called "a"' in fails(2, "serve", "a=x", "a=y")
    assert 'needs a name, NAME=PATH, and "y" has none' in fails(2, "serve", "a=x", "y")
    assert "1 to 128 letters" in fails(2, "serve", "a b=x")
    assert "uses that address itself" in fails(2, "serve", "v2=x")
    assert "GP_MODEL: " in fails(2, "serve", env={"GP_MODEL": "-a=x"})
    assert 'no model is called "c"' in fails(2, "serve", "--default-model", "c", "a=x", "b=y")


def test_a_model_of_the_file_is_served(tmp_path):
    path = written(tmp_path, {"listen": "127.0.0.1:0", "models": {
        "mirror": {"engine": "echo", "instances": 3}}})
    with serving("serve", "--config", str(path)) as server:
        metadata = json.loads(server.ask("GET", "/").body)
        assert metadata["name"] == "mirror"


def test_a_table_says_how_a_lone_model_is_run(tmp_path):
    """By its engine, unless a flag says another."""
    def description(*flags):
        with serving("serve", "--config", str(path), *flags) as server:
            return json.loads(server.ask("GET", "/").body)["description"]
    path = written(tmp_path, {"listen": "127.0.0.1:0", "models": {
        "m": {"engine": plugin("slow")}}})
    assert description() != description("--engine", "echo") == "Returns its inputs in order."


# --- errors -----------------------------------------------------------------------------


@pytest.mark.parametrize("text, line, words", [
    ('{\n"max-bod": 1}', 2, '"max-bod" is no setting; did you mean "max-body"?'),
    ('{\r\n\r\n"instances": 5000}', 3, 'instances wants a number, from 0 to 4096, not "5000"'),
    ('\ufeff{"timeout": 1.5}', 1, "timeout wants a duration such as 500ms, 10s or 2m, or seconds, not 1.5"),
    ('{"models": {\n"m": {\n"listen": ":1"}}}', 3, "at the top of the file"),
    ('{"models": {\n"m": {"path": "x"},\n"m": {}}}', 3, 'two are called "m"'),
    ('{"models": {\n"m": {"device": "cpu", "engine-option": {"device": "cuda"},\n'
     '"path": "x"}}}', 2, "contradict each other"),
    ('{"listen": "a",\n"listen": "b"}', 2, "a second time"),
    ('{\n"listen": "a" "b"}', 2, "no JSON"),
    ("{" * 100000, 1, "no JSON"),
    ('{"listen": "a\0"}', 1, "no JSON"),
    ("[" * 50000 + "]" * 50000, 1, "wants an object"),
    ('{"\x1b[2J\\u202e": 1}', 1, "no JSON"),
])
def test_errors(tmp_path, text, line, words):
    path = written(tmp_path, text)
    for status, *command in (2, "serve", "--config"), (1, "check-config"):
        said = fails(status, *command, path)
        assert f"{path}:{line}: " in said and words in said, said
        assert said.count("\n") == 1 and said[:-1].isprintable(), said


def test_foreign_keys_are_shown(tmp_path):
    assert r'\u{202e}x" is no setting' in fails(1, "check-config",
                                               written(tmp_path, '{"\\u202ex": 1}'))


def test_no_file(tmp_path):
    for path, why in ((tmp_path / "none", "No such file"), (tmp_path, "Is a directory"),
                      ("/dev/null", "no JSON")):
        assert why in fails(2, "serve", "--config", path)
        assert why in fails(1, "check-config", path)


# --- check-config -----------------------------------------------------------------------


def test_check_config(tmp_path):
    (tmp_path / "there").mkdir()
    path = written(tmp_path, {"models": {
        "here": {"path": "there"}, "web": {"path": "https://example.com/x.onnx"},
        "away": {"path": "/nonexistent/x.onnx"}}})
    done = call("check-config", path, env={"GP_MAX_BODY": "nonsense"}, cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.decode() == f"{path}: valid, 3 models\n"
    assert done.stderr.decode() == (f"graphpipe: warning: {path}:10: path: /nonexistent/x.onnx: "
                                    "No such file or directory\n")
    path = written(tmp_path, {"repository": "/nonexistent"})
    assert f"{path}:2: repository: " in call("check-config", path).stderr.decode()
    assert "check-config wants: FILE" in fails(2, "check-config")


# --- the schema and the document --------------------------------------------------------


def test_the_schema_is_what_the_program_prints():
    assert SCHEMA.read_text() == succeeds("check-config", "--schema"), \
        "graphpipe check-config --schema > schema/graphpipe-config.schema.json"


def without_comments(text):
    """As JSON without what only our reader takes; there is no // in the strings of the samples
    but in addresses."""
    text = re.sub(r"(?<!:)//.*", "", text)
    return json.loads(re.sub(r",(\s*[}\]])", r"\1", text))


def example():
    return re.search(r"^```json\n(.*?)^```$", DOCUMENT.read_text(), re.M | re.S)[1]


FULL = {"$schema": "x", "listen": [":1", "unix:/s"], "max-body": 5, "pool": "64M",
        "verbose": True, "log-format": "json", "timeout": "500ms", "versions": "newest:2",
        "engine-option": {"a": 1, "b": "c"}, "models": {
            "a.B_c-1": {"path": "p", "versions": [1, "2"], "aliases": {"stable": 1},
                        "instances": 4096, "inputs": ["x"], "isolate": False}}}


@pytest.mark.parametrize("settings", [{}, FULL, without_comments(example())],
                         ids=["empty", "full", "document"])
def test_what_the_schema_takes(tmp_path, settings):
    fastjsonschema.compile(json.loads(SCHEMA.read_text()))(settings)
    succeeds("check-config", written(tmp_path, settings))


@pytest.mark.parametrize("settings", [
    {"max-bod": 1}, {"listen": []}, {"listen": 1}, {"listen": [{}]}, {"instances": "1"},
    {"instances": 4097}, {"instances": -1}, {"instances": 1.5}, {"max-body": "1X"},
    {"max-body": 0}, {"timeout": -1}, {"timeout": "1x"}, {"verbose": 1}, {"log-format": "xml"},
    {"engine-option": {}}, {"engine-option": "a=1"}, {"model": "x"}, {"config": "x"},
    {"models": []}, {"models": {"a b": {}}}, {"models": {"v1": {}}}, {"models": {"-a": {}}},
    {"models": {"a" * 129: {}}}, {"models": {"a": 1}}, {"models": {"a": {"listen": ":1"}}},
    {"models": {"a": {"path": 1}}}, {"models": {"a": {"aliases": {}}}}, [], None, 5,
], ids=json.dumps)
def test_what_the_schema_and_we_refuse(tmp_path, settings):
    with pytest.raises(fastjsonschema.JsonSchemaException):
        fastjsonschema.compile(json.loads(SCHEMA.read_text()))(settings)
    fails(1, "check-config", written(tmp_path, settings))


def kind(row):
    """How the document calls what the key takes."""
    if "$ref" in row:
        return row["$ref"].rpartition("/")[2].replace("pairs", "object")
    if "enum" in row:
        return " or ".join(f"`{word}`" for word in row["enum"])
    if "pattern" in row:
        word = re.fullmatch(r"\^(\w+)\$", row["pattern"])
        return f"number or `{word[1]}`" if word else "duration" if "ms" in row["pattern"] else "size"
    return {"boolean": "`true` or `false`", "integer": "number", "string": "string"}[row["type"]]


def test_the_document_lists_all_keys():
    schema = json.loads(SCHEMA.read_text())
    of_model = schema["definitions"]["model"]["properties"]
    rows = {**of_model, **schema["properties"]}
    del rows["$schema"], rows["models"]
    wanted = []
    for name, row in rows.items():
        where = ("model" if name not in schema["properties"] else
                 "both" if name in of_model else "server")
        default = f"`{row['default']}`" if "default" in row else ""
        wanted.append(f"| `{name}` | {kind(row)} | {where} | {default} | {row['description']} |")
    listed = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| `")]
    assert listed == wanted, "\n".join(wanted)


def test_the_examples_of_the_document(tmp_path):
    path = written(tmp_path, example())
    assert succeeds("check-config", path) == f"{path}: valid, 3 models\n"
    assert json.loads(SCHEMA.read_text())["title"] in DOCUMENT.read_text()


