"""Reports: one self-contained HTML page of finished runs, and the diagnosis of denoisers.

    document         The page as a whole.
    section          One data set: its methods, comparison, groups and users.
    methods          Runs grouped into methods.
    shown_users      Some users, with the list of each method.
    result_table     Methods x metrics.
    learning_curves  Metric and loss by epoch.
    cost_charts      Quality against cost.
    group_charts     Results by user activity and item popularity.
    user_lists       Lists of some users, side by side.
    provenance       Where the numbers come from: data, settings, versions.
    elements         HTML elements that several parts use.
    charts           Charts as SVG.
    html             HTML elements with escaped text.
    denoising        How well a denoiser found the noisy interactions.

The names below are public; the modules behind them are internal and may change.
"""

from recsys.report.denoising import Detection, detect
from recsys.report.document import page, write_page
from recsys.report.section import Section, sections

__all__ = ["Detection", "Section", "detect", "page", "sections", "write_page"]
