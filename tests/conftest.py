"""Before anything imports Triton: a machine without a GPU runs its kernels in the interpreter."""

import os

import torch

# Triton reads this when it is imported, which transformers does; this file comes first in any run.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
