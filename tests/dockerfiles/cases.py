"""The Dockerfiles of `list`: where they are, what they are built with, and which images they name."""

import io
import os
import re
import shlex
import subprocess
import tarfile

# Where the agent is that commands are lent: `AGENT` in flags.
AGENT = "/run/agent"
DIGEST = re.compile(r"@sha256:[0-9a-f]{64}")
# Instructions over several lines are one.
CONTINUED = re.compile(r"[\\`][ \t]*\r?\n")


class Case:
    """One Dockerfile. `name` is what people call it, `slug` what images are called."""

    def __init__(self, clones, repository, commit, line):
        words, _, self.reason = line.partition(" ## ")
        words = shlex.split(words)
        self.path = words.pop(0)
        self.inside = os.path.dirname(self.path)
        self.flags, self.environment = [], {}
        for word in words:
            if word.startswith("context="):
                self.inside = word[len("context="):]
            elif word.startswith("environment="):
                key, _, value = word[len("environment="):].partition("=")
                self.environment[key] = value
            else:
                self.flags.append(word.replace("=AGENT", f"={AGENT}"))
        self.clone = os.path.join(clones, repository.replace("/", "+"))
        self.commit = commit
        self.name = f"{repository}/{self.path}"
        self.slug = re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")
        self.file = self.context = self.text = ""

    def git(self, *args):
        return subprocess.run(["git", "-C", self.clone, *args], stdout=subprocess.PIPE, check=True).stdout

    def lay(self, folder):
        """Writes context and Dockerfile as they are in that commit."""
        os.makedirs(folder)
        tree = os.path.join(folder, "tree")
        inside = "" if self.inside in ("", ".") else self.inside
        with tarfile.open(fileobj=io.BytesIO(self.git("archive", "--format=tar", f"{self.commit}:{inside}"))) as tar:
            tar.extractall(tree)
        self.context = tree
        self.file = os.path.join(tree, os.path.relpath(self.path, inside or "."))
        if not os.path.isfile(self.file):
            # One that is outside its context.
            self.file = os.path.join(folder, os.path.basename(self.path))
            with open(self.file, "wb") as file:
                file.write(self.git("show", f"{self.commit}:{self.path}"))
        with open(self.file, encoding="utf-8", errors="surrogateescape") as file:
            written = file.read()
        # What stands in for an image has another digest.
        self.text = DIGEST.sub("", written)
        if self.text != written:
            with open(self.file, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(self.text)

    def images(self):
        """The images that it names, whole: `docker.io/library/alpine:latest`."""
        text = CONTINUED.sub(" ", re.sub(r"(?m)^\s*#.*\n", "", self.text))
        before, *_ = re.split(r"(?mi)^\s*FROM\s", text, maxsplit=1)
        given = dict(flag[len("--build-arg="):].partition("=")[::2] for flag in self.flags if flag.startswith("--build-arg="))
        values = dict(given)
        for name, default in re.findall(r"(?mi)^\s*ARG\s+(\w+)=(\S*)", before):
            values[name] = given.get(name, expanded(default, values))
        targets = [flag[len("--target="):] for flag in self.flags if flag.startswith("--target=")]
        stages, found = {"scratch"}, []
        for line in text.splitlines():
            words = line.split()
            if words[:1] and words[0].upper() == "FROM":
                if stages.intersection(targets):
                    # What comes after the stage that is wanted is not built.
                    break
                words = [word for word in words[1:] if not word.startswith("--")]
                reference = expanded(words[0], values)
                if reference.lower() not in stages and not reference.isdigit():
                    found.append(reference)
                if len(words) > 2:
                    stages.add(words[2].lower())
            named = re.findall(r"--from=(\S+)", line) if re.match(r"\s*(COPY|ADD)\s", line, re.I) else []
            named += re.findall(r"--mount=\S*\bfrom=([^,\s]+)", line)
            for reference in (expanded(word, values) for word in named):
                if reference.lower() not in stages and not reference.isdigit() and "$" not in reference:
                    found.append(reference)
        return sorted({whole(reference) for reference in found})


def expanded(word, values):
    """A word with the variables that stand before the first FROM."""
    def value(match):
        name, sign, other = match[1] or match[2], match[3], match[4]
        known = values.get(name, "").strip("\"'")
        if sign == ":+":
            return other if known else ""
        return known or (other or "")
    return re.sub(r"\$(?:(\w+)|\{(\w+)(?:(:[-+])([^}]*))?\})", value, word).strip("\"'")


def whole(reference):
    """With its registry and its tag."""
    first, slash, _ = reference.partition("/")
    if not slash:
        reference = f"docker.io/library/{reference}"
    elif "." not in first and ":" not in first and first != "localhost":
        reference = f"docker.io/{reference}"
    elif first == "docker.io" and reference.count("/") == 1:
        reference = f"docker.io/library/{reference.rpartition('/')[2]}"
    return reference if ":" in reference.rsplit("/", 1)[1] else f"{reference}:latest"


def read(path, clones):
    """A line `[owner/name commit]` begins a repository; each other one is a Dockerfile, with `context=`, `environment=` and flags
    for both builders behind it, and after ` ## ` the reason why it is checked only."""
    found, repository, commit = [], None, None
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            line = line.strip()
            if line.startswith("["):
                repository, commit = line.strip("[]").split()
            elif line and not line.startswith("#"):
                found.append(Case(clones, repository, commit, line))
    slugs = [case.slug for case in found]
    assert len(slugs) == len(set(slugs)), sorted(slug for slug in slugs if slugs.count(slug) > 1)
    return found


def rules(path):
    """`NAME PATTERN...` a line: which stand-in has which names, `*` being anything."""
    found = []
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            words = line.split()
            if words and not line.startswith("#"):
                found += [(re.compile(re.escape(word).replace(r"\*", ".*")), words[0]) for word in words[1:]]
    return found


class Known:
    """What differs and may."""

    def __init__(self, line):
        case, what, self.reason = (part.strip() for part in line.split(" | "))
        self.case, self.what = re.compile(case), re.compile(what)

    def fits(self, case, what):
        return self.case.fullmatch(case) and self.what.fullmatch(what)


def known(path):
    """`CASES | WHAT | WHY` a line, the first two being expressions."""
    with open(path, encoding="utf-8") as lines:
        return [Known(line.strip()) for line in lines if line.strip() and not line.startswith("#")]
