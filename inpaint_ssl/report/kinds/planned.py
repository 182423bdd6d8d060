"""Which tests a study with pretrained arms plans: the family of Holm's correction."""

from collections.abc import Mapping
from typing import Any

from inpaint_ssl.statistics import FROM_SCRATCH


def planned_fractions(info: Mapping[str, Any]) -> tuple[float, ...]:
    """Label fractions, rising, at which a pretrained arm is or will be trained, as the cells of study.json say.

    From scratch alone may be trained with all labels besides (the dotted line of figures 3 to 5): no test is planned
    there. Without cells: all label fractions.
    """
    arms = {arm["arm"] for arm in info.get("arms", ())} - {FROM_SCRATCH}
    cells = [cell for cell in info.get("cells", ()) if cell["phase"] == "finetune" and cell["arm"] in arms]
    return tuple(sorted({float(c["label_fraction"]) for c in cells} or map(float, info.get("label_fractions", ()))))
