import subprocess
import sys
from pathlib import Path

from graphengine import diffusion

HEAVY = ("torch", "numpy", "PIL", "diffusers", "transformers", "safetensors")
TORCH_FREE = ("SAMPLERS", "SCHEDULES", "Memory", "Model", "Image", "load_checkpoint", "Tiling")


def test_names_that_hints_need_load_nothing_heavy():
    script = f"""
import sys
from graphengine import diffusion
for name in {TORCH_FREE}: getattr(diffusion, name)
diffusion.Memory()
print([name for name in {HEAVY} if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there_and_no_submodule_hides_it():
    modules = {path.stem for path in Path(diffusion.__file__).parent.glob("*.py")}
    for name in diffusion.__all__:
        assert getattr(diffusion, name) is not None
        assert name not in modules


def test_type_checkers_see_the_same_names():
    lines = Path(diffusion.__file__).read_text().splitlines()
    imports = [line.split()[1:] for line in lines if line.startswith("    from graphengine.")]
    seen = {(words[0].rpartition(".")[2], words[-1]) for words in imports}
    assert seen == {(module, name) for module, names in diffusion._HOMES.items() for name in names}
