"""Answers that hang or bloat a computer algebra system: 64 of them, of ten kinds."""


def answers() -> list[str]:
  """The hostile answers, each different; the gold answer that they are tried on is a number."""
  n = range(1, 8)
  return [
    # Towers of powers and powers of powers.
    *(f"{i + 2}^{{9^{{9^{{{i + 2}}}}}}}" for i in n),
    *(f"(10^{{{900 + i}}})^{{{900 + i}}}" for i in n),
    *(f"2^{{{10**i}}}-1" for i in range(4, 8)),
    # Factorials: large, of factorials, in exponents.
    *(f"{10**i}!" for i in range(5, 10)),
    *(f"({20 + i}!)!" for i in n),
    *(f"2^{{{i + 20}!}}" for i in range(3)),
    # Ranges that would be run through.
    *(f"\\sum_{{k=1}}^{{{10**i}}} \\frac{{1}}{{k^2+1}}" for i in range(6, 10)),
    *(f"\\prod_{{k=1}}^{{{10**i}}} k" for i in range(6, 9)),
    "\\int_0^1 \\sin(\\cos(\\sin(x^{7})))\\exp(x^{9}) dx",
    "\\int_0^{10} \\frac{\\sin(x^2)\\ln(1+x^{13})}{1+x^{17}} dx",
    "\\lim_{n \\to \\infty} (1+\\frac{1}{n^{n}})^{n!}",
    # Nesting: brackets, roots, fractions.
    "(" * 400 + "1" + ")" * 400,
    "[" * 400 + "1" + "]" * 400,
    "\\sqrt{" * 300 + "2" + "}" * 300,
    "\\frac{1}{1+" * 200 + "1" + "}" * 200,
    "\\left(" * 400 + "x" + "\\right)" * 400,
    # Length: digits, terms, elements, and texts that make a regular expression go back and forth.
    "9" * 1_000_000,
    "1+" * 500_000 + "1",
    "\\{" + ",".join(map(str, range(2_000))) + "\\}",
    "x" * 1_000_000,
    "\\boxed{" * 50_000,
    "$" * 100_001,
    "answer " * 20_000 + "$",
    "1," * 100_000,
    " " * 200_000 + "1 a",
    "1 " * 20_000 + "\\frac{",
    # Hard functions and identities.
    "\\sin(" * 15 + "x" + ")" * 15 + "=0",
    "(x+y+z+w+u+v)^{900}",
    "(1+x)^{999}(1-x)^{999}(1+x^2)^{999}",
    "\\tan(\\arctan(\\frac{1}{5})\\cdot 4-\\arctan(\\frac{1}{239}))^{1000000}",
    "\\binom{1000000}{500000}",
    "1000000007^{1000000006} \\bmod 1000000009",
    "\\Gamma(\\Gamma(\\Gamma(9)))",
    "\\sqrt[1000000]{2^{1000001}}",
  ][:64]
