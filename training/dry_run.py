"""Checks a run before it is trained: its videos, its memory and disk, the time it will take. Writes nothing."""

import logging
import multiprocessing
import os
import shutil
from pathlib import Path

import paddle

from common.console import count, duration, first_of, progress, size
from datareader.inspection import missing_files, sample_places, try_reading
from datareader.loader import Loader
from datareader.workers import SHARED_MEMORY
from distributed.ranks import on_gpu
from models.cost import model_cost
from training.checkpoint import Checkpoints
from training.run import Run, training_arrays
from training.timing import StepTime, time_training, time_validation

NAMES_SHOWN = 5
TRIED_PER_CLASS = 3

logger = logging.getLogger("train")


def check_run(run: Run, checkpoints: Checkpoints, title: str, class_names: list[str]) -> None:
    """Say what a run will meet and need.

    Args:
        run: saves nothing; its weights are not those of its start any more afterwards.
        checkpoints: those that it would write.
        title: of the network.
        class_names: in label order.

    Raises:
        ValueError: something would end the run; the message says all that was found.
    """
    problems = _check_list("[TRAIN]", run.train_loader, class_names, run.unreadable.max_fraction)
    if run.valid_loader:  # an unreadable video counts as a wrong answer there, and ends nothing
        _check_list("[VALID]", run.valid_loader, class_names, 1.0)
    problems += _check_folder(checkpoints.save_dir)
    if problems:
        raise ValueError(f"this run would not go well: {'; '.join(problems)}")
    _say_network(run, title)
    training = time_training(run)
    logger.info("[TRAIN] %s", step_line(training))
    validation = time_validation(run) if run.valid_loader else None
    if validation:
        logger.info("[VALID] %s", step_line(validation))
    _say_memory(run)
    _check_disk(run, checkpoints)
    _say_duration(run, training, validation)


def _check_list(heading: str, loader: Loader, class_names: list[str], max_bad_fraction: float) -> list[str]:
    """Look for the videos of a list, and read a few of each class; returns what would end a run."""
    records, problems = loader.reader.records, []
    logger.info("%s looking for %s", heading, count(len(records), "file"))
    missing = missing_files(records, heading)
    if missing:
        names = ", ".join(records[place].name for place in missing[:NAMES_SHOWN])
        more = f" and {len(missing) - NAMES_SHOWN:,} more" if len(missing) > NAMES_SHOWN else ""
        logger.warning(
            "%s %d of %s do not exist: %s%s", heading, len(missing), count(len(records), "file"), names, more
        )
    bad, num_tried, unread_classes = set(missing), 0, []
    samples = sample_places(records, TRIED_PER_CLASS, missing)
    with progress(samples.items(), len(samples), f"{heading} classes") as classes:
        for label, places in classes:
            unreadable = try_reading(loader.reader, places)
            for place, reason in unreadable:
                logger.warning("%s cannot read %s: %s", heading, records[place].path, reason)
            num_tried += len(places)
            bad.update(place for place, _ in unreadable)
            if len(unreadable) == len(places):
                unread_classes.append("any" if label is None else class_names[label])
    logger.info(
        "%s %s tried, %d of each class: %d cannot be read",
        heading, count(num_tried, "video"), TRIED_PER_CLASS, len(bad) - len(missing),
    )  # fmt: skip
    if len(bad) > max_bad_fraction * len(records):
        problems.append(
            f"{len(bad)} of {count(len(records), 'video')} cannot be read, more than TRAIN.max_bad_fraction "
            f"{max_bad_fraction} allows; repair the list, or raise max_bad_fraction"
        )
    if unread_classes:
        names = first_of(unread_classes, NAMES_SHOWN)
        problems.append(f"no readable video of {count(len(unread_classes), 'class', 'classes')} was found ({names})")
        logger.warning("%s %s", heading, problems[-1])
    return problems


def _check_folder(save_dir: Path) -> list[str]:
    there = _nearest(save_dir)
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return []
    return [f"{save_dir}: cannot write here; choose another --save_dir"]


def _nearest(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    return next(one for one in (path.absolute(), *path.absolute().parents) if one.exists())


def _say_network(run: Run, title: str) -> None:
    reader = run.train_loader.reader
    cost = model_cost(run.model, reader.sampling.seglen, reader.views.target_size)
    logger.info(
        "[TRAIN] network: %s, %.1f million trained parameters, %.2f GMACs per clip of %s of %d px",
        title, cost.num_parameters / 1e6,
        cost.clip_gmacs(reader.sampling.seg_num),
        count(reader.sampling.seg_num, "segment"), reader.views.target_size,
    )  # fmt: skip


def step_line(step: StepTime) -> str:
    """What a step's time consists of, and which part bounds it."""
    by = f"by {count(step.num_workers, 'process', 'processes')}" if step.num_workers else "in this process"
    parts = f"reading alone {step.reading_sec:.2f} s ({by}), computing alone {step.computing_sec:.2f} s"
    if not step.num_workers:
        bound = "they take turns (num_reader_threads 0)"
    elif step.is_bound_by_reading:
        bound = "reading bounds it: more num_reader_threads on more cores, or smaller videos, make it faster"
    else:
        bound = "computing bounds it"
    return f"a step takes {step.step_sec:.2f} s: {parts}; {bound}"


def _say_memory(run: Run) -> None:
    """Say what memory the run's processes have, after a few steps of each kind."""
    workers = [status_bytes(worker.pid, "VmRSS") for worker in multiprocessing.active_children()]
    own, known = status_bytes("self", "VmHWM"), [worker for worker in workers if worker is not None]
    lines = ["not known here" if own is None else f"{size(own)} at most in this process"]
    if known:
        lines.append(
            f"{size(sum(known))} in {count(len(known), 'process', 'processes')} that read, shared parts counted in each"
        )
    if on_gpu():
        lines.append(f"{size(paddle.device.cuda.max_memory_allocated())} at most on the GPU")
    shared = sum(loader.shared_bytes for loader in (run.train_loader, run.valid_loader) if loader)
    if shared:
        free = shutil.disk_usage(SHARED_MEMORY).free
        lines.append(f"up to {size(shared)} of shared memory, of which {size(free)} are free")
    logger.info("[TRAIN] memory: %s", "; ".join(lines))


def status_bytes(process: int | str, key: str) -> int | None:
    """A size that Linux tells of a process, such as VmHWM, its largest resident memory; None where there is none."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:")), None)


def num_checkpoints(keep_last: int | None, num_epochs: int, num_within_epoch: int) -> int:
    """The most checkpoints that are on the disk at a time: those kept, the best, one that is being written."""
    kept = keep_last if keep_last is not None else num_epochs * (1 + num_within_epoch)
    return kept + 2


def _check_disk(run: Run, checkpoints: Checkpoints) -> None:
    """Say what the run's checkpoints take, and warn if there is no room for them."""
    arrays = training_arrays(run.learner, run.model)
    weights = [tensor.size * tensor.element_size() for tensor in run.model.state_dict().values()]
    each = sum(weights) + sum(array.nbytes for array in arrays.values())
    every = run.save_interval_steps
    number = num_checkpoints(
        checkpoints.keep_last, run.num_epochs, (len(run.train_loader) - 1) // every if every else 0
    )
    free = shutil.disk_usage(_nearest(checkpoints.save_dir)).free
    text = f"a checkpoint takes {size(each)}, and {number:,} of them {size(number * each)}; {size(free)} are free"
    if number * each > free:
        logger.warning("[TRAIN] disk: %s for %s: free some space, or lower TRAIN.keep_last", text, checkpoints.save_dir)
    else:
        logger.info("[TRAIN] disk: %s for %s", text, checkpoints.save_dir)


def _say_duration(run: Run, training: StepTime, validation: StepTime | None) -> None:
    epochs = run.num_epochs - run.state.epoch
    num_steps = epochs * len(run.train_loader) - run.state.step_in_epoch
    seconds = num_steps * training.step_sec
    text = f"{count(num_steps, 'step')} of training"
    if validation:
        num_validations = run.num_epochs // run.valid_interval - run.state.epoch // run.valid_interval
        statistics_sec = min(run.precise_bn_steps, len(run.train_loader)) * training.step_sec  # at most
        seconds += num_validations * (statistics_sec + len(run.valid_loader) * validation.step_sec)
        text += f" and {count(num_validations, 'validation')}"
    logger.info("[TRAIN] the whole run, %s of %s: about %s (h:mm:ss)", count(epochs, "epoch"), text, duration(seconds))
