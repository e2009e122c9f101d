"""The actions by name."""

from dataset.demo.action import Action
from dataset.demo.moving import Backstroke, Biking, Skiing
from dataset.demo.standing import Ballet, Deadlifting, Juggling

# In label order, which is the alphabetical order of Kinetics.
ACTIONS: dict[str, type[Action]] = {
    "biking through city": Biking,
    "dancing ballet": Ballet,
    "deadlifting": Deadlifting,
    "juggling balls": Juggling,
    "skiing slalom": Skiing,
    "swimming backstroke": Backstroke,
}
