"""Writes drift_reference.json: what SciPy says of fixed samples.

    pip install scipy==1.16.2 numpy==2.3.3 && python drift_reference.py
"""

import json
import pathlib

import numpy as np
from scipy import stats
from scipy.spatial.distance import jensenshannon

random = np.random.default_rng(20241124)


def numbers(name, before, after):
    """Rounded, so that the file is small and ties are there."""
    before, after = np.round(before, 2), np.round(after, 2)
    both = stats.ks_2samp(before, after, method="asymp")
    return {
        "name": name, "before": before.tolist(), "after": after.tolist(),
        "distance": both.statistic, "p": both.pvalue,
    }


def categories(name, before, after):
    before, after = np.asarray(before), np.asarray(after)
    b, a = before / before.sum(), after / after.sum()
    seen = before + after > 0
    table = np.stack([before[seen], after[seen]])
    expected = stats.contingency.expected_freq(table)
    if expected.min() >= 5:
        test, p = "chi2_contingency", stats.chi2_contingency(table, correction=False).pvalue
    else:
        assert table.shape == (2, 2)
        test, p = "fisher_exact", stats.fisher_exact(table).pvalue
    # Shares below 1e-4 count as that much; Jeffreys' divergence is the sum of both relative entropies.
    bf, af = np.maximum(b, 1e-4), np.maximum(a, 1e-4)
    return {
        "name": name, "before": before.tolist(), "after": after.tolist(),
        "psi": float(stats.entropy(b, a) + stats.entropy(a, b)) if min(b.min(), a.min()) >= 1e-4
        else float(np.sum((af - bf) * np.log(af / bf))),
        "jensen_shannon": float(jensenshannon(b, a, base=2) ** 2),
        "l_infinity": float(np.abs(b - a).max()),
        "test": test, "p": float(p),
    }


p = np.sort(random.uniform(0, 0.2, 30) ** 2)
references = {
    "numbers": [
        numbers("the same", random.normal(0, 1, 400), random.normal(0, 1, 300)),
        numbers("shifted", random.normal(0, 1, 500), random.normal(0.3, 1, 250)),
        numbers("wider", random.normal(0, 1, 300), random.normal(0, 1.6, 400)),
        numbers("skewed", random.gamma(2, 3, 400), random.gamma(2.3, 3, 400)),
        numbers("of unlike sizes", random.exponential(5, 900), random.exponential(6.5, 210)),
        numbers("many ties", random.poisson(2, 500), random.poisson(2.6, 300)),
    ],
    "categories": [
        categories("the same", [500, 300, 200], [250, 150, 100]),
        categories("three values", [500, 300, 200], [200, 190, 110]),
        categories("eight values", random.multinomial(4000, [1 / 8] * 8), random.multinomial(900, np.arange(1, 9) / 36)),
        categories("two values", [980, 20], [285, 15]),
        categories("a rare value", [4990, 10], [290, 6]),
        categories("a new value", [5000, 0], [194, 6]),
        categories("none and none", [300, 0, 700], [60, 0, 190]),
    ],
    "corrections": [
        {"p": p.tolist(), "q": stats.false_discovery_control(p, method="bh").tolist()}
        for p in (p, random.permutation(p), np.array([0.5]), np.array([0.03, 0.03, 0.03]))
    ],
}
path = pathlib.Path(__file__).with_name("drift_reference.json")
sections = [
    f'"{name}": [\n' + ",\n".join(json.dumps(one) for one in of) + "\n]" for name, of in references.items()
]
path.write_text("{" + ",\n".join(sections) + "}\n")
