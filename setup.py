"""The folders that are installed under names of their own. All else about the package stands in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

FOLDERS = {
    "graphengine_nodes": "nodes",
    "graphengine_workflows": "workflows",
    "graphengine_web": "web",
}

packages = find_packages(include=["graphengine", "graphengine.*"])
for name, folder in FOLDERS.items():
    if Path(folder).is_dir():
        packages += [name, *(f"{name}.{inner}" for inner in find_packages(folder))]
setup(
    packages=packages,
    package_dir={name: folder for name, folder in FOLDERS.items() if name in packages},
)
