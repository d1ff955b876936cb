"""Path traversal: every way of spelling "outside" through every door that takes a name."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from urllib.parse import quote

import pytest

from orchestrator.graph.kinds import InputFile
from tests.contract.security.conftest import AREAS, SECRET, Trapped
from tests.support.builtin import builtin_catalogue

CLIMBS = (
    "../secret.png", "../../secret.png", "a/../../../secret.png", "./../../secret.png", "..//..//secret.png",
    "....//....//secret.png", "..\\secret.png", "..\\..\\secret.png", "a\\..\\..\\..\\secret.png", "..;/secret.png",
    "/etc/passwd", "//etc/passwd", "\\etc\\passwd", "file:///etc/passwd", "C:\\secret.png", "~/secret.png",
    "~root/.bashrc", "$HOME/secret.png", "/proc/self/environ", "/dev/stdin", "\\\\host\\share\\x.png",
    "secret.png\0.png", "\0", "../secret.png\0.png", "link.png", "way/secret.png", "way/private/key", "loop", "loop/x",
    "%2e%2e%2fsecret.png", "..%2fsecret.png", "%252e%252e%252fsecret.png", "..%c0%af..%c0%afsecret.png",
    "..%5csecret.png", "．．/secret.png", "..／secret.png", "‥/secret.png", ".", "..", "...", "", "/", ".partial/x",
)  # fmt: skip
FILES = sorted({climb for climb in CLIMBS if climb})


def spellings(name: str) -> list[str]:
    """Encoded for a URL once, twice, and with nothing but the dangerous signs encoded."""
    once = quote(name.encode("utf-8", "surrogatepass"), safe="")
    plain = name.replace(" ", "%20").encode("ascii", "ignore").decode().replace("\0", "%00")
    return list(dict.fromkeys((once, quote(once, safe=""), plain)))


@pytest.mark.parametrize("climb", CLIMBS)
def test_view_shows_nothing_outside(climb: str, trapped: Trapped) -> None:
    for spelt in spellings(climb):
        for query in (
            *(f"filename={spelt}&type={area}" for area in AREAS),
            *(f"filename=secret.png&subfolder={spelt}&type={area}" for area in AREAS),
            *(f"filename={spelt}%20[{area}]" for area in AREAS),
            f"filename=key&subfolder={spelt}/private&type=input",
            f"filename=secret.png&type={spelt}",
            f"filename={spelt}&type=input&preview=webp",
            f"filename={spelt}&type=input&channel=rgb",
        ):
            query = query.replace("\\", "%5C").replace(" ", "%20")
            answer = trapped.served.request("GET", f"/view?{query}")
            assert answer.status in (400, 403, 404), (query, answer.status)
            assert not trapped.leaks(answer.body), query


@pytest.mark.parametrize("climb", CLIMBS)
def test_uploads_stay_inside(climb: str, trapped: Trapped) -> None:
    mine = json.dumps({"filename": climb, "subfolder": "", "type": "input"}).encode()
    if not set(climb) & {"\0", '"'}:
        for area in AREAS:
            fields = [("image", climb, b"posted"), ("type", None, area.encode()), ("overwrite", None, b"true")]
            placed(trapped, trapped.served.post_form("/upload/image", fields))
    for area in AREAS:
        form = [("image", "up.png", b"posted"), ("type", None, area.encode()), ("overwrite", None, b"1")]
        placed(trapped, trapped.served.post_form("/upload/image", [*form, ("subfolder", None, climb.encode())]))
        masked = trapped.served.post_form("/upload/mask", [*form, ("original_ref", None, mine)])
        assert not trapped.leaks(masked.body)
    strange = [("image", "up.png", b"posted"), ("type", None, climb.encode())]
    assert trapped.served.post_form("/upload/image", strange).status >= 400


def placed(trapped: Trapped, answer: object) -> None:
    """Refused, or stored at a place inside, which is made free again; the traps are still there."""
    status, body = answer.status, answer.body  # type: ignore[attr-defined]
    assert status in (200, 400, 403, 500), body
    if status == 200:
        told = json.loads(body)
        path = trapped.data / told["type"] / told["subfolder"] / told["name"]
        assert path.read_bytes() == b"posted"
        assert (trapped.data / told["type"]).resolve() in path.resolve().parents
        path.unlink()
        if not path.parent.joinpath("link.png").is_symlink() and path.name == "link.png":
            path.symlink_to(trapped.outside / "secret.png")
    assert trapped.unchanged()


def file_inputs() -> list[tuple[str, str]]:
    """Every (class, input) of ours that names a file of an area, so that new nodes are attacked too."""
    return [
        (spec.id, item.name)
        for spec in builtin_catalogue().values()
        for item in spec.inputs
        if isinstance(item.kind, InputFile)
    ]


def test_the_nodes_that_read_files_are_found() -> None:
    found = {class_type for class_type, _ in file_inputs()}
    assert {"LoadImage", "LoadImageMask", "LoadLatent", "LoadAudio", "LoadVideo", "LoadImageOutput"} <= found


@pytest.mark.parametrize("climb", FILES)
def test_no_graph_names_a_file_outside(climb: str, trapped: Trapped) -> None:
    prompt, asked = {}, []
    for class_type, name in file_inputs():
        for value in (climb, *(f"{climb} [{area}]" for area in AREAS), quote(climb, safe="")):
            asked.append((str(2 * len(asked)), name))
            prompt[asked[-1][0]] = {"class_type": class_type, "inputs": {name: value}}
            prompt[f"{asked[-1][0]}-shown"] = {"class_type": "PreviewAny", "inputs": {"source": [asked[-1][0], 0]}}
    answer = trapped.served.post_json("/prompt", {"prompt": prompt})
    assert answer.status == 400 and not trapped.leaks(answer.body)
    assert answer.json["error"]["type"] == "prompt_outputs_failed_validation"
    for node_id, name in asked:
        errors = answer.json["node_errors"][node_id]["errors"]
        assert [error for error in errors if error["extra_info"].get("input_name") == name], prompt[node_id]


def test_a_file_inside_may_be_named(trapped: Trapped) -> None:
    """The refusals above are not refusals of everything."""
    for value in ("fine.png", "fine.png [output]", "fine.png [temp]"):
        prompt = {
            "1": {"class_type": "LoadImageOutput", "inputs": {"image": value}},
            "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
        }
        assert trapped.served.post_json("/prompt", {"prompt": prompt}).status == 200
    assert trapped.served.request("GET", "/view?filename=fine.png&type=input").body == b"fine"
    trapped.served.post_json("/queue", {"clear": True})


@pytest.mark.parametrize("climb", FILES)
def test_user_files_stay_inside(climb: str, trapped: Trapped) -> None:
    for spelt in spellings(climb):
        segment = spelt.replace("/", "%2F").replace("\\", "%5C")
        for method, path in (
            ("GET", f"/userdata/{segment}"), ("POST", f"/userdata/{segment}"), ("DELETE", f"/userdata/{segment}"),
            ("POST", f"/userdata/{segment}/move/x.png"), ("POST", f"/userdata/fine.png/move/{segment}?overwrite=false"),
            ("GET", f"/userdata?dir={segment}&recurse=true"), ("GET", f"/v2/userdata?path={segment}"),
            ("GET", f"/internal/files/{segment}"), ("GET", f"/settings/{segment}"),
        ):  # fmt: skip
            answer = trapped.served.request(method, path, b"posted" if method == "POST" else None)
            assert not trapped.leaks(answer.body), path
            assert answer.status < 500, path
        # What was stored or moved under a name that only looks bad (`%2e%2e…` encoded twice) is inside: put it back.
        restored(trapped)


def restored(trapped: Trapped) -> None:
    """Every file that the attack made lies inside; the user's folder is as before."""
    root = trapped.data / "user" / "default"
    for path in sorted(root.rglob("*"), reverse=True):
        if path.is_symlink():
            continue
        assert root.resolve() in path.resolve().parents
        if path.name != "fine.png" and path.is_file():
            path.unlink()
        elif path.is_dir() and not list(path.iterdir()):
            path.rmdir()
    (root / "fine.png").write_bytes(b"fine")
    assert (root / "link.png").is_symlink() and (root / "way").is_symlink()


STATIC = ("", "/extensions", "/templates", "/api/workflow_templates/mine", "/experiment/models/preview/checkpoints/0")


@pytest.mark.parametrize("climb", FILES)
def test_static_routes_stay_inside(climb: str, trapped: Trapped) -> None:
    for folder in STATIC:
        for spelt in spellings(climb):
            raw = f"{folder}/{spelt}".replace("\\", "%5C").encode("ascii", "ignore").decode()
            connection = http.client.HTTPConnection("127.0.0.1", trapped.served.port, timeout=20)
            try:  # as it is: http.client neither normalises nor decodes
                connection.putrequest("GET", raw)
                connection.endheaders()
                response = connection.getresponse()
                body = response.read()
            finally:
                connection.close()
            assert not trapped.leaks(body), raw
            assert response.status < 500, raw


def test_links_are_not_listed(trapped: Trapped) -> None:
    listed = trapped.served.request("GET", "/workflow_templates").json
    assert "way" not in listed and listed.get("mine", []) == []
    assert trapped.served.request("GET", "/userdata?dir=.&recurse=true").json == ["fine.png"]


def test_the_traps_work(trapped: Trapped) -> None:
    """Without a guard they would lead out."""
    for area in AREAS:
        folder = trapped.data / area
        assert Path(folder / "way" / "private" / "key").read_bytes() == SECRET == (folder / "link.png").read_bytes()
