"""What others may do with SIM cards."""

from apps.sims.services.binding import bind_sim, retire_sim, return_sim_to_stock, take_sim
from apps.sims.services.importing import import_batch

__all__ = ["bind_sim", "import_batch", "retire_sim", "return_sim_to_stock", "take_sim"]
