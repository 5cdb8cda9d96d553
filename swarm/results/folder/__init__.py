"""The run folder as it is written: what belongs to the run, and the files of each arm."""

from swarm.results.folder.run_folder import DIR, Folder, require_new_run

__all__ = ["DIR", "Folder", "require_new_run"]
