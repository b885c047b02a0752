"""Training: one engine that compiles whole runs of any objective."""

from jaxad.rows import as_rows as as_rows
from jaxad.training.checkpoint import Checkpoints as Checkpoints
from jaxad.training.compilation import Stopwatch as Stopwatch
from jaxad.training.diagnostics import check_diagnostics as check_diagnostics
from jaxad.training.engine import State as State
from jaxad.training.hosts import check_alike as check_alike
from jaxad.training.hosts import join_hosts as join_hosts
from jaxad.training.kept import compilation_cache as compilation_cache
from jaxad.training.mesh import make_mesh as make_mesh
from jaxad.training.mesh import use_cores as use_cores
from jaxad.training.recipe import OPTIMIZERS as OPTIMIZERS
from jaxad.training.recipe import Recipe as Recipe
from jaxad.training.runs import Interrupted as Interrupted
from jaxad.training.runs import NonFiniteError as NonFiniteError
from jaxad.training.runs import Result as Result
from jaxad.training.runs import advance as advance
from jaxad.training.runs import begin as begin
from jaxad.training.runs import fit as fit
from jaxad.training.runs import fit_population as fit_population
from jaxad.training.scoring import apply_population as apply_population
from jaxad.training.scoring import apply_rows as apply_rows
from jaxad.training.scoring import score as score
from jaxad.training.scoring import score_population as score_population
