"""The readers that are attacked, by what they read."""

from tests.fuzz.harness import Target
from tests.fuzz.targets import archives, checkpoints, clouds, hubs, images, lists, own

TARGETS: dict[str, Target] = {
    target.name: target
    for module in (archives, checkpoints, clouds, hubs, images, lists, own)
    for target in module.TARGETS
}
