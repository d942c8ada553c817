from tests.diffusion.conftest import checkpoint, folder, memory, one_thread

__all__ = ["checkpoint", "folder", "memory", "one_thread"]
