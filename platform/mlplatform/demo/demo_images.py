"""The demo's images, which nobody trained on, split for its acts, and the rules it runs under."""

from dataclasses import dataclass

import numpy as np

from mlplatform.demo.traffic import sample_mask
from pipelines.data import Examples, images_of
from pipelines.image.image_examples import image_examples
from pipelines.image.simulated_shift import simulate_scanner_shift

SPLIT_SHARES = (0.22, 0.56, 0.22)
LABEL_SHARE_BEFORE_SHIFT = 0.6
LABEL_SHARE_AFTER_SHIFT = 0.85
TRAFFIC_BATCHES = 8
"""In so many parts the shifted images are sent and labelled."""
MAX_IMAGES = 1400
SHIFT_SEED = 7

ALERT_RULES_TEMPLATE = """\
version: 1
model: digits
schedule: {{every: 2s}}
retraining: {{cooldown: 0s, daily_cap: 4, min_feedback: {min_feedback}}}
probation: {{period: 1h}}
channels:
  team-slack: {{type: slack, url: "http://127.0.0.1:{http_port}/slack"}}
  events: {{type: webhook, url: "http://127.0.0.1:{http_port}/webhook", secret: "{secret}"}}
  on-call-mail:
    {{type: email, host: 127.0.0.1, port: {smtp_port}, starttls: false, sender: platform@example.org,
      to: [oncall@example.org]}}
rules:
  - {{name: accuracy-drop, metric: accuracy_drop, above: 0.5 points, window: 1h, min_samples: 30,
      false_alarms: 1 per 90d, severity: critical, action: retrain, notify: [team-slack, on-call-mail, events],
      sources: [audit, delayed]}}
  - {{name: latency, metric: latency_ratio, above: 2 x, window: 5m, min_samples: 200, confidence: 0.99, for: 30s,
      every: 5s, severity: warning, action: tune-serving, notify: [team-slack]}}
  - {{name: class-error, metric: class_error, above: 10 %, window: 1h, min_samples: 20,
      false_alarms: 1 per 90d, every: 4s, severity: warning, action: label-audit, notify: [team-slack]}}
"""


@dataclass(frozen=True)
class DemoData:
    """Three sets of images that never overlap: as trained for, then through the second scanner, twice."""

    before_shift: Examples
    after_shift: Examples
    after_swap: Examples


def split_for_acts(stream: Examples, seed: int) -> DemoData:
    """Shuffle the stream and deal it to the acts; each underlying image appears in one act only."""
    order = np.random.default_rng(seed).permutation(len(stream))[:MAX_IMAGES]
    ends = np.cumsum([int(len(order) * share) for share in SPLIT_SHARES])
    before, after, after_swap = (stream.take(part) for part in np.split(order, ends)[:3])
    return DemoData(before, apply_shift(after, SHIFT_SEED), apply_shift(after_swap, SHIFT_SEED + 1))


def apply_shift(images: Examples, seed: int) -> Examples:
    """The images as the second scanner sees them."""
    return image_examples(
        simulate_scanner_shift(images_of(images.batch), seed), images.labels, f"{images.name}/second-scanner"
    )


def expected_label_count(world: DemoData, seed: int) -> int:
    """How many labels acts 3 and 4 give: the retraining waits for all of them, so that every run learns the same."""
    parts = [len(range(part, len(world.after_shift), TRAFFIC_BATCHES)) for part in range(TRAFFIC_BATCHES)]
    changed = sum(int(sample_mask(rows, LABEL_SHARE_AFTER_SHIFT, part).sum()) for part, rows in enumerate(parts))
    return int(sample_mask(len(world.before_shift), LABEL_SHARE_BEFORE_SHIFT, seed).sum()) + changed
