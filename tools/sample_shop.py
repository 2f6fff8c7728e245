"""Build the sample shop: its git history, and every image that its CI made of it.

The folders `fixtures/shop/` and `overlays/` hold the shop's files as they first came in; HISTORY
below says when they came and what changed afterwards. Commit ids and image digests are the same on
every machine. The result:

    DIRECTORY/shop          the git repository, main checked out
    DIRECTORY/shop.git      its bare remote `origin` (with --remote)
    DIRECTORY/images/NAME   an OCI image layout per image; the tag is the commit id
    DIRECTORY/registry      the deploy registry's place, empty

The develop flow is played as a CI would: each push to main or develop builds every service that it
affects, and tags the image with the full commit id; develop's is also `latest`. Feature branches
are not built. Two of main's pushes reuse an image that exists instead: see `reused` in HISTORY.
"""

import argparse
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Protocol
from urllib.parse import urljoin
from urllib.request import ProxyHandler, Request, build_opener

ROOT = Path(__file__).resolve().parents[1]

# -- what CI knows: the folders and files that each image is built from ----------------------------

LIBRARIES = {"money": ("libs/money",), "ui": ("libs/ui", "libs/money")}
SERVICES = {
    "cart": ("services/cart", *LIBRARIES["money"]),
    "catalog": ("services/catalog", "go.mod"),
    "checkout": ("services/checkout", *LIBRARIES["money"]),
    "coupons": ("services/coupons", *LIBRARIES["money"]),
    "frontend": ("services/frontend", *LIBRARIES["ui"]),
    "mailer": ("services/mailer", "go.mod"),
    "orders": ("services/orders", *LIBRARIES["money"]),
    "reports": ("services/reports", *LIBRARIES["money"]),
    "search": ("services/search", "go.mod"),
}
EXTERNAL = {"docker.io/library/redis:7.4.1": ("library/redis", "7.4.1")}
SOURCE = "https://git.example.com/shop/shop"
BUILT_BRANCHES = ("main", "develop")

# -- the words that the history is written in ------------------------------------------------------


@dataclass(frozen=True)
class File:
    content: bytes
    is_executable: bool = False

    @property
    def mode(self) -> int:
        return 0o755 if self.is_executable else 0o644


Tree = Mapping[str, File]


class Change(Protocol):
    def apply(self, tree: dict[str, File], shop: Tree) -> None:
        """Change a commit's tree; `shop` holds the files of the folders."""


@dataclass(frozen=True)
class Add:
    """A file or folder comes in as it stands in `fixtures/shop/` or `overlays/`."""

    path: str

    def apply(self, tree: dict[str, File], shop: Tree) -> None:
        tree.update(below(shop, self.path))


@dataclass(frozen=True)
class Write:
    path: str
    text: str

    def apply(self, tree: dict[str, File], shop: Tree) -> None:  # noqa: ARG002
        tree[self.path] = File(self.text.encode())


@dataclass(frozen=True)
class Edit:
    path: str
    before: str
    after: str

    def apply(self, tree: dict[str, File], shop: Tree) -> None:  # noqa: ARG002
        file = tree[self.path]
        text = file.content.decode()
        if text.count(self.before) != 1:
            raise ValueError(f"{self.path} holds {self.before!r} {text.count(self.before)} times")
        after = text.replace(self.before, self.after)
        tree[self.path] = File(after.encode(), file.is_executable)


@dataclass(frozen=True)
class MakeExecutable:
    path: str

    def apply(self, tree: dict[str, File], shop: Tree) -> None:  # noqa: ARG002
        tree[self.path] = File(tree[self.path].content, is_executable=True)


@dataclass(frozen=True)
class Remove:
    path: str

    def apply(self, tree: dict[str, File], shop: Tree) -> None:  # noqa: ARG002
        for path in below(tree, self.path):
            del tree[path]


@dataclass(frozen=True)
class Commit:
    """A commit on a branch; a branch not seen before starts at main's head.

    `reused` names the services that this push affects but CI did not build, as an image of the very
    same inputs existed; and what `resolvedVia` a resolver has to answer when it finds that image.
    """

    subject: str
    changes: tuple[Change, ...]
    branch: str
    reused: Mapping[str, str]


@dataclass(frozen=True)
class Merge:
    """A merge into main that is never a fast-forward; the branch ends with it."""

    merged: str
    reused: Mapping[str, str] = field(default_factory=dict)

    @property
    def subject(self) -> str:
        return f"Merge branch '{self.merged}'"


@dataclass(frozen=True)
class Tag:
    """A tag on a branch's head; lightweight without a message."""

    name: str
    message: str = ""
    branch: str = "main"


Step = Commit | Merge | Tag


def commit(
    subject: str,
    *changes: Change,
    on: str = "main",
    reused: Mapping[str, str] | None = None,
) -> Commit:
    return Commit(subject, changes, on, reused or {})


# -- the history -----------------------------------------------------------------------------------

SORTED_BY_NAME = "products[i].Name < products[j].Name"
SORTED_BY_PRICE = "products[i].Units < products[j].Units"

HISTORY: tuple[Step, ...] = (
    commit("Start the shop", Add("README.md"), Add("go.mod")),
    commit("money: amounts in minor units", Add("libs/money")),
    commit("catalog: list the products", Add("services/catalog")),
    commit("cart: a basket for each visitor", Add("services/cart")),
    commit("ui: show a price", Add("libs/ui")),
    commit("frontend: a page with the products", Add("services/frontend")),
    commit("orders: keep what was ordered", Add("services/orders")),
    commit("checkout: turn a cart into an order", Add("services/checkout")),
    commit("docs: run the shop on a laptop", Add("docs")),
    commit("mailer: a mail for every order", Add("services/mailer"), on="feature/mailer"),
    commit(
        "mailer: ask less often",
        Edit("services/mailer/main.go", "5 * time.Second", "30 * time.Second"),
        on="feature/mailer",
    ),
    Merge("feature/mailer"),
    commit("search: find products by their first letters", Add("services/search")),
    commit("coupons: percentages off", Add("services/coupons"), on="feature/coupons"),
    Merge("feature/coupons"),
    commit("reports: the revenue of the day", Add("services/reports")),
    commit("overlays: a base for all environments", Add("overlays/base")),
    commit(
        "overlays: dev, stage and prod",
        Add("overlays/dev"),
        Add("overlays/stage"),
        Add("overlays/prod"),
        Add("overlays/prod-us"),
    ),
    commit("Publish releases with bundler", Add("bundler.yaml")),
    # An input that is a file at the root: catalog, mailer and search are built.
    commit("Go 1.23", Edit("go.mod", "go 1.22", "go 1.23")),
    commit(
        "checkout: free shipping for large carts",
        Edit(
            "services/checkout/checkout.py",
            'SHIPPING = Decimal("4.90")\n',
            'SHIPPING = Decimal("4.90")\nFREE_FROM = 5000\n',
        ),
        on="feature/free-shipping",
    ),
    commit(
        "cart: stickers",
        Edit("services/cart/cart.py", '"mug": 900, ', '"mug": 900, "sticker": 200, '),
    ),
    commit(
        "checkout: charge shipping only below the limit",
        Edit(
            "services/checkout/checkout.py",
            "return text(cart + minor_units(SHIPPING, currency), currency)",
            "shipping = 0 if cart >= FREE_FROM else minor_units(SHIPPING, currency)\n"
            "    return text(cart + shipping, currency)",
        ),
        on="feature/free-shipping",
    ),
    Merge("feature/free-shipping"),
    # A change of the mode alone is a change of the input.
    commit("search: words.sh is a program", MakeExecutable("services/search/words.sh")),
    commit(
        "docs: how a release is made",
        Write("docs/release.md", "# Releases\n\nTag main, wait for CI, apply to stage.\n"),
    ),
    Tag("v1.0.0", "Shop 1.0.0"),
    commit(
        "overlays: one more frontend in stage and prod",
        Edit(
            "overlays/stage/kustomization.yaml",
            "name: frontend\n    count: 2",
            "name: frontend\n    count: 3",
        ),
        Edit(
            "overlays/prod/kustomization.yaml",
            "name: frontend\n    count: 3",
            "name: frontend\n    count: 4",
        ),
    ),
    commit(
        "catalog: cheapest first",
        Edit("services/catalog/main.go", SORTED_BY_NAME, SORTED_BY_PRICE),
    ),
    commit(
        "mailer: greet customers by name",
        Edit("services/mailer/main.go", '"Hello,', '"Hello %s,'),
        Edit("services/mailer/main.go", '", order)', '", customer, order)'),
        on="develop",
    ),
    commit(
        "orders: find a customer's orders faster",
        Write(
            "services/orders/migrations/0002_orders_by_customer.sql",
            "CREATE INDEX orders_by_customer ON orders (customer);\n",
        ),
        on="develop",
    ),
    # The catalog is as it was, and so CI did not build it again: no image has this commit's id.
    commit(
        'Revert "catalog: cheapest first"\n\nCustomers look for names.',
        Edit("services/catalog/main.go", SORTED_BY_PRICE, SORTED_BY_NAME),
        reused={"catalog": "identical-tree"},
    ),
    commit(
        "frontend: dark mode",
        Edit(
            "services/frontend/server.mjs",
            "</title><style>",
            '</title><meta name="color-scheme" content="light dark"><style>',
        ),
        on="develop",
    ),
    commit(
        "frontend: let caches keep the page for a minute",
        Edit(
            "services/frontend/server.mjs",
            "  response.end(",
            '  response.setHeader("Cache-Control", "max-age=60");\n  response.end(',
        ),
    ),
    # Both sides changed the frontend, so only main has an image of the merged inputs. The mailer
    # changed on develop only, where CI had built it: its image keeps the id of develop's commit.
    Merge("develop", reused={"mailer": "history"}),
    # A change of a library alone: everything that uses money is built, frontend through ui.
    commit(
        "money: round half to even",
        Edit("libs/money/money.py", "ROUND_HALF_UP", "ROUND_HALF_EVEN"),
    ),
    commit(
        "Drop coupons: nobody used one",
        Remove("services/coupons"),
        Remove("overlays/base/coupons.yaml"),
        Edit("overlays/base/kustomization.yaml", "  - coupons.yaml\n", ""),
        Edit("bundler.yaml", "  coupons: {paths: [services/coupons], uses: [money]}\n", ""),
    ),
    commit(
        "overlays: a warmer title",
        Edit("overlays/base/kustomization.yaml", "TITLE=The shop", "TITLE=Welcome to the shop"),
    ),
    commit(
        "ui: prices line up",
        Edit("libs/ui/ui.css", "color: #060;", "color: #060; font-variant-numeric: tabular-nums;"),
    ),
    commit(
        "docs: the way to the price list",
        Write("docs/prices.md", "# Prices\n\nSee `libs/money`.\n"),
    ),
    Tag("v1.1.0", "Shop 1.1.0"),
    commit(
        "checkout: say what shipping costs",
        Edit(
            "services/checkout/checkout.py",
            "return text(cart + shipping, currency)",
            'return f"{text(cart + shipping, currency)}, shipping {text(shipping, currency)}"',
        ),
        on="feature/shipping-costs",
    ),
    commit(
        "checkout: shipping is free a little sooner",
        Edit("services/checkout/checkout.py", "FREE_FROM = 5000", "FREE_FROM = 4500"),
        on="feature/shipping-costs",
    ),
    commit(
        "docs: when shipping is free", Write("docs/shipping.md", "# Shipping\n\nFree from 45.00.\n")
    ),
    Merge("feature/shipping-costs"),
    Tag("v1.2.0"),
    commit(
        "docs: free shipping in euros",
        Edit("docs/shipping.md", "Free from 45.00.", "Free from €45.00."),
    ),
    Tag("v1.2.1", "Shop 1.2.1: only the documentation changed"),
    commit(
        "cart: remember points",
        Write(
            "services/cart/points.py", '"""A point for every euro."""\n\nUNITS_PER_POINT = 100\n'
        ),
        on="feature/loyalty",
    ),
    commit(
        "frontend: show points",
        Edit("services/frontend/server.mjs", '["poster", 1450]', '["poster", 1450], ["points", 0]'),
        on="feature/loyalty",
    ),
    Tag("v2.0.0-rc.1", "Never merged", branch="feature/loyalty"),
    commit(
        "search: find words by any letters",
        Edit("services/search/main.go", "strings.HasPrefix(", "strings.Contains("),
        on="develop",
    ),
)

AUTHORS = (
    "Mara Lind <mara@shop.example>",
    "Teo Varga <teo@shop.example>",
    "Ines Roth <ines@shop.example>",
)
START = datetime(2024, 3, 4, 9, 0, tzinfo=timezone(timedelta(hours=1)))
PACE = timedelta(hours=7, minutes=13)
# An author writes some time before the commit is made, so that nobody can mix up the two dates.
WRITTEN_BEFORE = timedelta(minutes=25)

# -- what comes out --------------------------------------------------------------------------------


@dataclass(frozen=True)
class ExpectedImage:
    """The image that a correct resolver finds for a service."""

    commit: str
    digest: str
    resolved_via: str


@dataclass(frozen=True)
class SampleShop:
    repository: Path
    remote: Path | None
    images: Path
    registry: Path
    tags: Mapping[str, str]
    """tag → commit id; `v2.0.0-rc.1` is not on main"""
    commits: Mapping[str, str]
    """first line of the message → commit id"""
    expected: Mapping[str, Mapping[str, ExpectedImage]]
    """tag on main → service → image"""
    built: Mapping[str, Mapping[str, str]]
    """service → commit id → digest, of every image that CI built"""
    external: Mapping[str, str]
    """third-party reference → digest"""


def build_shop(
    directory: Path,
    *,
    remote: bool = False,
    images: Path | None = None,
    lookup: str = "",
    deploy_registry: str = "",
) -> SampleShop:
    """Build everything in a new `directory`.

    `lookup` (where images are asked for, `ocidir://` or `oci://host/shop`) and `deploy_registry` go
    into bundler.yaml instead of the folders beside the repository; other values, other commit ids.
    """
    repository = directory / "shop"
    if repository.exists():
        raise FileExistsError(f"{repository} exists; the sample shop needs a new folder")
    if images and not lookup:
        lookup = f"ocidir://{images.resolve()}"
    shop = read_shop(
        {
            "ocidir://../images": lookup or "ocidir://../images",
            "ocidir://../registry/shop": deploy_registry or "ocidir://../registry/shop",
        }
    )
    revisions, tagged = unfold(HISTORY, shop)
    ids = write_repository(repository, fast_import_stream(revisions, tagged))
    registry = directory / "registry"
    registry.mkdir(exist_ok=True)
    images = images or directory / "images"
    built, running = play_ci(revisions, ids, images)
    return SampleShop(
        repository=repository,
        remote=add_remote(repository, directory / "shop.git") if remote else None,
        images=images,
        registry=registry,
        tags={tag.name: ids[number] for tag, number in tagged},
        commits={revision.subject: ids[number] for number, revision in enumerate(revisions)},
        expected={tag.name: running[number] for tag, number in tagged if number in running},
        built=built,
        external=import_external(images),
    )


# -- from steps to commits -------------------------------------------------------------------------


@dataclass(frozen=True)
class Revision:
    """A commit before it has an id; its parents are positions in the list of revisions."""

    message: str
    branch: str
    parents: tuple[int, ...]
    tree: Tree
    time: datetime
    reused: Mapping[str, str]

    @property
    def subject(self) -> str:
        return self.message.partition("\n")[0]


def below(tree: Tree, path: str) -> dict[str, File]:
    """The files at or below a path."""
    return {name: tree[name] for name in sorted(tree) if f"{name}/".startswith(f"{path}/")}


def read_shop(replacements: Mapping[str, str]) -> Tree:
    """The folders' files as the shop's repository has them, without what editors leave behind."""
    tree = {}
    for folder, prefix in ((ROOT / "fixtures/shop", ""), (ROOT / "overlays", "overlays/")):
        for file in sorted(folder.rglob("*")):
            name = file.relative_to(folder).as_posix()
            is_ours = not any(part.startswith((".", "__")) for part in name.split("/"))
            if is_ours and file.is_file():
                tree[prefix + name] = File(file.read_bytes())
    project = tree["bundler.yaml"].content.decode()
    for before, after in replacements.items():
        project = project.replace(before, after)
    return {**tree, "bundler.yaml": File(project.encode())}


def unfold(history: Sequence[Step], shop: Tree) -> tuple[list[Revision], list[tuple[Tag, int]]]:
    """The history's revisions in order, and the revision of each tag."""
    revisions: list[Revision] = []
    tags: list[tuple[Tag, int]] = []
    heads: dict[str, int] = {}
    unmerged: defaultdict[str, list[Change]] = defaultdict(list)
    for step in history:
        if isinstance(step, Tag):
            tags.append((step, heads[step.branch]))
            continue
        if isinstance(step, Merge):
            branch = "main"
            parents: tuple[int, ...] = (heads["main"], heads.pop(step.merged))
            changes: Sequence[Change] = unmerged.pop(step.merged)
        else:
            branch = step.branch
            start = heads.get(branch, heads.get("main"))
            parents = () if start is None else (start,)
            changes = step.changes
            unmerged[branch].extend(changes)
        # A merge without conflict comes to repeating the branch's changes on main's tree.
        tree = dict(revisions[parents[0]].tree) if parents else {}
        for change in changes:
            change.apply(tree, shop)
        heads[branch] = len(revisions)
        time = START + len(revisions) * PACE
        revisions.append(Revision(step.subject, branch, parents, tree, time, step.reused))
    return revisions, tags


# -- git -------------------------------------------------------------------------------------------


def fast_import_stream(revisions: Sequence[Revision], tags: Sequence[tuple[Tag, int]]) -> bytes:
    """The whole history as `git fast-import` reads it; revision N has the mark N + 1."""
    stream = io.BytesIO()

    def line(text: str) -> None:
        stream.write(f"{text}\n".encode())

    def block(content: bytes) -> None:
        line(f"data {len(content)}")
        stream.write(content + b"\n")

    for number, revision in enumerate(revisions):
        author = AUTHORS[number % len(AUTHORS)]
        line(f"commit refs/heads/{revision.branch}")
        line(f"mark :{number + 1}")
        line(f"author {author} {git_date(revision.time - WRITTEN_BEFORE)}")
        line(f"committer {author} {git_date(revision.time)}")
        block(f"{revision.message}\n".encode())
        for command, parent in zip(("from", "merge"), revision.parents, strict=False):
            line(f"{command} :{parent + 1}")
        former = revisions[revision.parents[0]].tree if revision.parents else {}
        for path in sorted(former.keys() - revision.tree.keys()):
            line(f"D {path}")
        for path, file in sorted(revision.tree.items()):
            if file != former.get(path):
                line(f"M 100{file.mode:o} inline {path}")
                block(file.content)
    for tag, number in tags:
        if tag.message:
            line(f"tag {tag.name}")
            line(f"from :{number + 1}")
            line(f"tagger {AUTHORS[0]} {git_date(revisions[number].time + PACE / 2)}")
            block(f"{tag.message}\n".encode())
        else:
            line(f"reset refs/tags/{tag.name}")
            line(f"from :{number + 1}")
    return stream.getvalue()


def git_date(time: datetime) -> str:
    return f"{int(time.timestamp())} {time:%z}"


def write_repository(repository: Path, stream: bytes) -> list[str]:
    """Make the repository and check main out; the commit ids, by revision."""
    repository.mkdir(parents=True)
    git(repository, "init", "--quiet", "--template=", "--object-format=sha1", "-b", "main")
    # Later commits in this repository are as independent of the machine's settings as these.
    for key, value in (
        ("core.autocrlf", "false"),
        ("commit.gpgSign", "false"),
        ("tag.gpgSign", "false"),
        ("user.name", "Shop"),
        ("user.email", "shop@shop.example"),
    ):
        git(repository, "config", key, value)
    marks = repository / ".git/shop-marks"
    git(repository, "fast-import", "--quiet", f"--export-marks={marks.resolve()}", stdin=stream)
    lines = sorted(marks.read_text().splitlines(), key=lambda text: int(text[1:].split()[0]))
    marks.unlink()
    git(repository, "reset", "--quiet", "--hard", "main")
    return [text.split()[1] for text in lines]


def add_remote(repository: Path, remote: Path) -> Path:
    git(repository, "clone", "--quiet", "--bare", "--template=", ".", str(remote.resolve()))
    # The bare copy is where all starts: it follows nobody.
    git(remote, "remote", "remove", "origin")
    git(repository, "remote", "add", "origin", str(remote.resolve()))
    git(repository, "fetch", "--quiet", "origin")
    git(repository, "branch", "--quiet", "--set-upstream-to=origin/main", "main")
    return remote


def git(folder: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    """Run git without anybody's settings."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C"}
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(
        command, input=stdin, env=environment, check=True, stdout=subprocess.PIPE
    ).stdout


# -- the develop flow ------------------------------------------------------------------------------


def play_ci(
    revisions: Sequence[Revision], ids: Sequence[str], images: Path
) -> tuple[dict[str, dict[str, str]], dict[int, dict[str, ExpectedImage]]]:
    """Build what each push affects: every image, and what a release of each of main's commits has.

    The second follows from CI's own book-keeping: a service runs the image that was last built for
    main, or the one that was reused.
    """
    layouts = {service: ImageLayout(images / service) for service in SERVICES}
    built: dict[str, dict[str, str]] = {service: {} for service in SERVICES}
    by_inputs: dict[tuple[str, str], str] = {}
    running: dict[int, dict[str, ExpectedImage]] = {}
    for number, revision in enumerate(revisions):
        if revision.branch not in BUILT_BRANCHES:
            continue
        former = revisions[revision.parents[0]].tree if revision.parents else {}
        current = dict(running.get(revision.parents[0], {})) if revision.parents else {}
        for service in SERVICES:
            inputs = inputs_of(service, revision.tree)
            if not inputs:
                current.pop(service, None)
                continue
            if inputs == inputs_of(service, former):
                continue
            key = (service, digest_of(layer_of(inputs)))
            if service in revision.reused:
                commit_id, via = by_inputs[key], revision.reused[service]
            else:
                commit_id, via = ids[number], "first-parent"
                tags = [commit_id, "latest"] if revision.branch == "develop" else [commit_id]
                built[service][commit_id] = layouts[service].add(
                    inputs, tags, image_labels(commit_id, revision.branch), revision.time
                )
                by_inputs.setdefault(key, commit_id)
            current[service] = ExpectedImage(commit_id, built[service][commit_id], via)
        if revision.branch == "main":
            running[number] = current
    for layout in layouts.values():
        layout.close()
    return built, running


def inputs_of(service: str, tree: Tree) -> Tree:
    """What an image is built from; nothing before the service came and after it went."""
    own, *shared = SERVICES[service]
    inputs = below(tree, own)
    if inputs:
        for path in shared:
            inputs |= below(tree, path)
    return inputs


def image_labels(commit_id: str, branch: str) -> dict[str, str]:
    return {
        "org.opencontainers.image.revision": commit_id,
        "org.opencontainers.image.source": SOURCE,
        "org.opencontainers.image.ref.name": branch,
    }


def import_external(images: Path) -> dict[str, str]:
    """Stand-ins of the third-party images, so that nothing is asked of the internet."""
    digests = {}
    for reference, (name, tag) in EXTERNAL.items():
        layout = ImageLayout(images / name)
        content = {"README": File(f"This stands for {reference}.\n".encode())}
        digests[reference] = layout.add(content, [tag], {}, START)
        layout.close()
    return digests


# -- OCI images ------------------------------------------------------------------------------------

Json = dict[str, object]
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"


class ImageLayout:
    """An OCI image layout in a folder; its index is written by `close`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tags: dict[str, Json] = {}
        (folder / "blobs/sha256").mkdir(parents=True)

    def add(
        self, files: Tree, tags: Sequence[str], labels: Mapping[str, str], created: datetime
    ) -> str:
        """Write an image of one layer; its digest."""
        layer = layer_of(files)
        config: Json = {
            "created": created.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "architecture": "amd64",
            "os": "linux",
            "config": {"Labels": dict(labels)},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(layer)]},
        }
        manifest: Json = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": self.blob("application/vnd.oci.image.config.v1+json", encode(config)),
            # Not compressed: gzip's bytes differ between versions of zlib.
            "layers": [self.blob("application/vnd.oci.image.layer.v1.tar", layer)],
        }
        descriptor = self.blob(MANIFEST_TYPE, encode(manifest))
        self.tags |= dict.fromkeys(tags, descriptor)
        return str(descriptor["digest"])

    def blob(self, media_type: str, content: bytes) -> Json:
        digest = digest_of(content)
        (self.folder / "blobs" / digest.replace(":", "/")).write_bytes(content)
        return {"mediaType": media_type, "digest": digest, "size": len(content)}

    def close(self) -> None:
        name = "org.opencontainers.image.ref.name"
        manifests = [{**self.tags[tag], "annotations": {name: tag}} for tag in sorted(self.tags)]
        index: Json = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": manifests,
        }
        (self.folder / "index.json").write_bytes(encode(index))
        (self.folder / "oci-layout").write_bytes(encode({"imageLayoutVersion": "1.0.0"}))


def layer_of(files: Tree) -> bytes:
    """A tar of the files below app/, the same for the same files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path, file in sorted(files.items()):
            entry = tarfile.TarInfo(f"app/{path}")
            entry.size, entry.mode = len(file.content), file.mode
            tar.addfile(entry, io.BytesIO(file.content))
    return buffer.getvalue()


def encode(document: Json) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


# -- to a real registry ----------------------------------------------------------------------------


def push_images(images: Path, host: str, prefix: str = "shop") -> None:
    """Push every image and tag of the layouts below `images` to `http://host/v2/prefix/…`."""
    layouts = [
        (path.parent, path.parent.relative_to(images)) for path in images.rglob("oci-layout")
    ]
    blobs: list[tuple[str, Path]] = []
    manifests: list[tuple[str, Path]] = []
    for layout, name in layouts:
        url = f"http://{host}/v2/{prefix}/{name.as_posix()}"
        index = json.loads((layout / "index.json").read_bytes())
        tagged = [
            (entry["annotations"]["org.opencontainers.image.ref.name"], entry["digest"])
            for entry in index["manifests"]
        ]
        manifests += [
            (f"{url}/manifests/{tag}", layout / "blobs" / digest.replace(":", "/"))
            for tag, digest in tagged
        ]
        # A manifest's own blob is sent too; a registry minds it no more than any other.
        blobs += [(url, file) for file in (layout / "blobs/sha256").iterdir()]
    with ThreadPoolExecutor(16) as pool:
        # Manifests come after all blobs: a registry refuses one whose blobs it lacks.
        for step, work in ((push_blob, blobs), (push_manifest, manifests)):
            list(pool.map(step, *zip(*work, strict=True)))


def push_blob(url: str, file: Path) -> None:
    location = send("POST", f"{url}/blobs/uploads/")
    separator = "&" if "?" in location else "?"
    digest = f"{separator}digest=sha256%3A{file.name}"
    send("PUT", location + digest, "application/octet-stream", file.read_bytes())


def push_manifest(url: str, file: Path) -> None:
    send("PUT", url, MANIFEST_TYPE, file.read_bytes())


def send(method: str, url: str, content_type: str = "", body: bytes = b"") -> str:
    """Send a request, whatever proxy the environment names; where the answer points to."""
    headers = {"Content-Type": content_type} if content_type else {}
    request = Request(url, data=body, headers=headers, method=method)
    with build_opener(ProxyHandler({})).open(request, timeout=30) as answer:
        location: str = answer.headers.get("Location", "")
        return urljoin(url, location)


# -- the command -----------------------------------------------------------------------------------


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the sample shop: git history and images.")
    parser.add_argument("directory", type=Path, help="a new folder for all of it")
    parser.add_argument("--remote", action="store_true", help="also a bare remote, as `origin`")
    parser.add_argument("--images-dir", type=Path, help="where images go, default DIRECTORY/images")
    parser.add_argument("--lookup", default="", help="where bundler.yaml says that images are")
    parser.add_argument("--deploy-registry", default="", help="where it says that releases go")
    options = parser.parse_args()
    try:
        shop = build_shop(
            options.directory,
            remote=options.remote,
            images=options.images_dir,
            lookup=options.lookup,
            deploy_registry=options.deploy_registry,
        )
    except FileExistsError as error:
        print(error, file=sys.stderr)
        return 2
    images = sum(len(commits) for commits in shop.built.values())
    print(f"{shop.repository}: {len(shop.commits)} commits")
    print(f"{shop.images}: {images} images of {len(shop.built)} services")
    for tag, commit_id in shop.tags.items():
        print(f"{tag}: {commit_id}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
