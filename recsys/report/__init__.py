"""Reports: one self-contained HTML page of finished runs, and the diagnosis of denoisers.

    document    The page as a whole.
    section     One data set: its methods and their runs.
    html_parts  Tables and curves of a section.
    charts      Charts as SVG.
    html        HTML elements with escaped text.
    provenance  Where the numbers come from: data, settings, versions.
    denoising   How well a denoiser found the noisy interactions.

The names below are public; the modules behind them are internal and may change.
"""

from recsys.report.denoising import Detection, detect
from recsys.report.document import page, write_page
from recsys.report.section import Section, sections

__all__ = ["Detection", "Section", "detect", "page", "sections", "write_page"]
