"""One training iteration: a step of D, a step of G (Eq. 10), now and then one of D by its gradient penalty, a step of
the exponential average.

An iteration never synchronises with the device. All randomness (pairs, dropout) is a function of the seed and the
iteration alone, sampled for the batch of all processes together, so that resumed and distributed trainings follow an
undisturbed one. A resumed training does so to the bit on a CPU; sums have no fixed order on a GPU, or over several
processes.
"""

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from augment.base.devices import timed_kernels
from augment.base.errors import UsageError
from augment.base.progress import say
from augment.config import GanConfig
from augment.gan import processes
from augment.gan.cuda_graph import Captured
from augment.gan.dataset import Batch, PairData
from augment.gan.kernels.adam import ChannelsLastAdam
from augment.gan.kernels.gather import LevelPlan, Plan, plans_are_tables
from augment.gan.networks import build_discriminator, build_generator
from augment.gan.objectives import Objectives
from augment.gan.pair_order import PairOrder
from augment.gan.penalty import EVERY, gradient_penalty
from augment.gan.self_pairs import move_joints, move_targets
from augment.gan.skeletons import HUMAN, Skeleton

PLANNED_PIXELS = 2**20  # of pairs whose geometry is made at once: 110 MB of tables
LOSSES = ("discriminator", "generator_adversarial", "generator_reconstruction")
SINCE = ("log", "checkpoint")


class Trainer:
    """Both networks, their optimisers, and the number of finished iterations (``iteration``)."""

    def __init__(self, section: GanConfig, data: PairData, device: torch.device, skeleton: Skeleton = HUMAN):
        world = processes.world_size()
        if section.batch_size % world:
            raise UsageError(f"gan.batch_size={section.batch_size} cannot be shared by {world} processes; "
                             "make it a multiple of their number.")  # fmt: skip
        self.section, self.data, self.device = section, data, device
        mode = _compilation(section, device)
        self.generator = build_generator(section, data.image_size, skeleton).to(device, memory_format=_FORMAT)
        self.discriminator = build_discriminator(section, data.image_size, skeleton).to(device, memory_format=_FORMAT)
        self.average = copy.deepcopy(self.generator).requires_grad_(False).eval()
        self.objectives = Objectives(section, data.image_size).to(device, memory_format=_FORMAT)
        # A captured graph reads the rate from a tensor: a number would be part of the graph.
        rate = torch.tensor(section.learning_rate, device=device) if mode else section.learning_rate
        adam = {
            "lr": rate, "betas": (section.beta1, section.beta2), "fused": True, "capturable": bool(mode),
        }  # fmt: skip
        self.generator_optimizer = ChannelsLastAdam(self.generator.parameters(), **adam)
        self.discriminator_optimizer = ChannelsLastAdam(self.discriminator.parameters(), **adam)
        self.order = PairOrder(section, data.train, data.image_size)
        share = section.batch_size // world
        self._planned = max(1, PLANNED_PIXELS // (share * math.prod(data.image_size)))  # iterations with a common plan
        self._plans: tuple[int, Plan] = -1, {}  # number of those iterations' group, and their plans
        self.iteration = 0
        # Sums of losses and their number, since the last line of the log and since the last checkpoint.
        self.loss_sums = torch.zeros(len(SINCE), len(LOSSES) + 1, device=device)
        self._run_generator: nn.Module = self.generator
        self._run_discriminator: nn.Module = self.discriminator
        if mode == "full":
            self._run_generator = torch.compile(self.generator, dynamic=False)
            self._run_discriminator = torch.compile(self.discriminator, dynamic=False)
        # D has two passes in an iteration, but only in the one that trains it gradients are synchronised.
        self._synced_generator, self._synced_discriminator = self._run_generator, self._run_discriminator
        if world > 1:
            devices = [device.index] if device.type == "cuda" else None
            self._synced_generator = DistributedDataParallel(self._run_generator, devices)
            self._synced_discriminator = DistributedDataParallel(self._run_discriminator, devices)
        self._captured = bool(mode) and world == 1
        self._work, self._penalty_work = self._make(self._iterate), self._make(self._penalise)

    def _make(self, work: Callable[..., None]) -> Callable[..., None]:
        return Captured(work, self.device, fall_back=self.section.compile == "auto") if self._captured else work

    def start_from(self, generator: nn.Module) -> None:
        """Initialise with another generator's weights. The discriminator is new."""
        for network in (self.generator, self.average):
            network.load_state_dict(generator.state_dict())

    def learning_rate(self) -> float:
        """Of the next iteration: constant, then falling linearly to 0 over the last ``decay_iterations``."""
        left = self.section.iterations - self.iteration
        return self.section.learning_rate * min(1.0, left / max(1, self.section.decay_iterations))

    def _set_learning_rate(self) -> None:
        rate = self.learning_rate()
        for optimizer in (self.generator_optimizer, self.discriminator_optimizer):
            for group in optimizer.param_groups:
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(rate)
                else:
                    group["lr"] = rate

    def step(self) -> None:
        """Run the next iteration."""
        if self.section.decay_iterations:
            self._set_learning_rate()
        pairs, *maps = (drawn.flatten(0, 1) for drawn in self._draw([self.iteration]))
        random = torch.Generator(self.device).manual_seed(_mix(self.section.seed, self.iteration))
        noise = [layer[self._mine()] for layer in self.generator.sample_noise(self.section.batch_size, random)]
        with timed_kernels():
            self._work(pairs, *maps, *noise, *self._tables())
            if self.objectives.fidelity.gradient_penalty and self.iteration % EVERY == 0:
                self._penalty_work(pairs, *maps)
        self._update_average()
        self.iteration += 1

    def _mine(self) -> slice:
        """This process's part of a batch."""
        share = self.section.batch_size // processes.world_size()
        return slice(processes.rank() * share, (processes.rank() + 1) * share)

    def _draw(self, iterations: Sequence[int]) -> list[Tensor]:
        """This process's pairs of some iterations, (2·iterations, B, 2), and with ``self_pairs`` the maps of their
        targets, (2·iterations, B, 2, 2, 3): see :class:`PairOrder`. An iteration's first set is D's real images."""
        of_each = [self.order.pairs] + [self.order.maps] * bool(self.section.self_pairs)
        return [_to_device(torch.from_numpy(np.concatenate([drawn(step)[:, self._mine()] for step in iterations])),
                           self.device) for drawn in of_each]  # fmt: skip

    def _tables(self) -> list[Tensor]:
        """The plan of the next iteration, a table per level. Empty where plans have no fixed shapes: G makes its own.

        Plans of several iterations are made at once: for a few pairs they are hundreds of tiny kernels.
        """
        if not plans_are_tables(self.device):
            return []
        group, place = divmod(self.iteration, self._planned)
        if self._plans[0] != group:
            first = group * self._planned
            pairs, *maps = (drawn[1::2].flatten(0, 1) for drawn in self._draw(range(first, first + self._planned)))
            source, target = self.data.joints[pairs].unbind(1)
            for moved in maps:
                target = move_joints(target, moved, self.data.image_size)
            self._plans = group, self.generator.plan(source, target, batch=len(pairs) // self._planned)
        return [level.table.chunk(self._planned)[place] for level in self._plans[1].values()]

    def _iterate(self, pairs: Tensor, *others: Tensor) -> None:
        """``others``: maps of targets with ``self_pairs``, noise of the decoder's layers, tables of the plan."""
        first = 1 if self.section.self_pairs else 0
        real, fake = self._batches(pairs, *others[:first])
        others = others[first:]
        layers = len(self.generator.noise_shapes)
        noise, tables = list(others[:layers]), others[layers:]
        levels = self.generator.deformed if tables else []
        plan = {size: LevelPlan(size, table) for size, table in zip(levels, tables, strict=True)}
        with self._autocast():
            generated = self._synced_generator(fake.source, fake.source_joints, fake.target_joints, noise, plan or None)

        # D: a single pass over real and generated images, without gradients of G.
        self.discriminator.requires_grad_(True)
        with self._autocast():
            logits = self._synced_discriminator(
                torch.cat([real.source, fake.source]),
                torch.cat([real.source_joints, fake.source_joints]),
                torch.cat([real.target, generated.detach()]),
                torch.cat([real.target_joints, fake.target_joints]),
            )
        discriminator_loss = self.objectives.discriminator(*logits.float().chunk(2))
        self.discriminator_optimizer.zero_grad(set_to_none=True)
        discriminator_loss.backward()
        self.discriminator_optimizer.step()

        # G: through the updated D, without gradients of D's weights.
        self.discriminator.requires_grad_(False)
        with self._autocast():
            fake_logits = self._run_discriminator(fake.source, fake.source_joints, generated, fake.target_joints)
        losses = self.objectives.generator(fake_logits.float(), generated, fake.target)
        self.generator_optimizer.zero_grad(set_to_none=True)
        sum(losses).backward()
        self.generator_optimizer.step()
        count = torch.ones((), device=self.device)
        self.loss_sums += torch.stack([discriminator_loss, *losses, count]).detach()

    def _batches(self, pairs: Tensor, *maps: Tensor) -> list[Batch]:
        """D's real images, and what G generates from, of pairs (2·B, 2), and with ``self_pairs`` maps (2·B, ...)."""
        batches = [self.data.batch(half) for half in pairs.chunk(2)]
        for both in maps:
            batches = [move_targets(batch, half) for batch, half in zip(batches, both.chunk(2), strict=True)]
        return batches

    def _penalise(self, pairs: Tensor, *maps: Tensor) -> None:
        """A step of D by its gradient penalty alone."""
        real, _ = self._batches(pairs, *maps)
        self.discriminator.requires_grad_(True)
        self.discriminator_optimizer.zero_grad(set_to_none=True)
        penalty = gradient_penalty(self.discriminator, real)
        (EVERY * self.objectives.fidelity.gradient_penalty * penalty).backward()
        processes.average_gradients(self.discriminator)
        self.discriminator_optimizer.step()

    @torch.no_grad()
    def _update_average(self) -> None:
        """Exponential average, with a smaller decay early on, to forget the random initialisation."""
        decay = min(self.section.ema_decay, (1 + self.iteration) / (10 + self.iteration))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.generator.parameters()), 1 - decay)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.section.precision == "bf16")

    def read_losses(self, since: Literal["log", "checkpoint"]) -> dict[str, float]:
        """Means over the iterations since the last such call, over all processes. Synchronises with the device."""
        sums = self.loss_sums[SINCE.index(since)]
        *means, _ = sums / sums[-1].clamp_min(1)
        means = torch.stack(means)
        if processes.world_size() > 1:
            torch.distributed.all_reduce(means)
            means /= processes.world_size()
        sums.zero_()
        return dict(zip(LOSSES, means.tolist(), strict=True))

    @torch.no_grad()
    def generate(self, pairs: np.ndarray) -> Tensor:
        """Images (B, 3, H, W) in [-1, 1] of some pairs by the averaged weights."""
        batch = self.data.batch(pairs)
        return self.average(batch.source, batch.source_joints, batch.target_joints)

    @torch.no_grad()
    def validate(self) -> float:
        """Reconstruction loss of the averaged weights on the fixed test pairs: what the best checkpoint is best at."""
        total = 0.0
        for start in range(0, len(self.data.test), 8):
            pairs = self.data.test[start : start + 8]
            batch: Batch = self.data.batch(pairs)
            total += float(self.objectives.reconstruction(self.generate(pairs), batch.target)) * len(pairs)
        return total / len(self.data.test)

    def is_finite(self) -> bool:
        """Whether all weights are still numbers."""
        tensors = [*self.generator.parameters(), *self.discriminator.parameters()]
        return bool(torch.stack([tensor.isfinite().all() for tensor in tensors]).all())

    def state(self) -> dict[str, Any]:
        """The state that :meth:`restore` resumes from exactly. The random state is the iteration itself."""
        return {
            "iteration": self.iteration, "loss_sums": self.loss_sums,
            **{name: getattr(self, name).state_dict() for name in (*_NETWORKS, *_OPTIMIZERS)},
        }  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a state of an equally configured trainer, on any device and with any compilation."""
        for name in _NETWORKS:
            getattr(self, name).load_state_dict(state[name])
        for name in _OPTIMIZERS:
            optimizer = getattr(self, name)
            # A file's groups also say how that training worked (capturable), which is not for this one.
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": state[name]["state"], "param_groups": groups})
        self.loss_sums.copy_(state["loss_sums"])
        self.iteration = state["iteration"]
        # A captured graph refers to the optimisers' former tensors.
        self._work, self._penalty_work = self._make(self._iterate), self._make(self._penalise)


_FORMAT = torch.channels_last
_NETWORKS = ("generator", "discriminator", "average")
_OPTIMIZERS = ("generator_optimizer", "discriminator_optimizer")


def _mix(seed: int, iteration: int) -> int:
    """One 63-bit seed for each iteration of each training."""
    return int(np.random.SeedSequence([seed, iteration]).generate_state(1, np.uint64)[0] >> 1)


def _to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Without waiting, on CUDA."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def _compilation(section: GanConfig, device: torch.device) -> Literal[False, "graph", "full"]:
    """What ``gan.compile`` comes to on this device."""
    if section.compile == "auto":
        return "graph" if device.type == "cuda" else False
    if section.compile and device.type != "cuda":
        say(f"gan.compile={section.compile} needs CUDA and has no effect on this {device.type}.")
        return False
    return section.compile
