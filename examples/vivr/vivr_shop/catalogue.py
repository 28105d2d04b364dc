"""Categories, products and their stock: small tables that are held in memory while orders refer to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .ids import cuid, mark_of, mix
from .instants import DAY, text_of
from .pricing import money

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .scale import Scale

DEPARTMENTS: Final = {
    "Kitchen": ("Mug", "Bowl", "Teapot", "Pan"),
    "Home": ("Lamp", "Cushion", "Vase", "Clock"),
    "Garden": ("Planter", "Trowel", "Hose", "Bench"),
    "Office": ("Notebook", "Pen", "Tray", "Stand"),
    "Travel": ("Backpack", "Bottle", "Pouch", "Umbrella"),
}
MATERIALS: Final = ("Cotton", "Oak", "Steel", "Glass", "Clay", "Linen", "Cork", "Brass")
YEAR: Final = 365 * DAY
_STREAM: Final = 11
_MARKS: Final = {table: mark_of(table) for table in ("Category", "Product", "Inventory")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """What an order line needs to know of a product."""

    id: str
    name: str
    cents: int


def products(scale: Scale) -> list[Product]:
    """Every product of the shop, in the order of its rows."""
    return [_product(scale, number) for number in range(scale.products)]


def _product(scale: Scale, number: int) -> Product:
    bits = mix(scale.seed, _STREAM, number)
    return Product(
        id=_id(scale, "Product", number),
        name=f"{MATERIALS[number // 20 % len(MATERIALS)]} {_kinds()[number % 20][1]} No. {number:04d}",
        cents=199 + (bits >> 32) % 9_800,
    )


def _id(scale: Scale, table: str, number: int) -> str:
    stream = _STREAM + 1 + list(_MARKS).index(table)
    bits = mix(scale.seed, stream, number)
    return cuid(_opened(scale) + number, number, _MARKS[table], bits)


def _opened(scale: Scale) -> int:
    return scale.first_order - 2 * YEAR


def _kinds() -> list[tuple[str, str]]:
    return [(department, kind) for department, kinds in DEPARTMENTS.items() for kind in kinds]


def category_rows(scale: Scale) -> Iterator[str]:
    """Five departments, then four kinds below each."""
    opened = text_of(_opened(scale))
    departments = {name: _id(scale, "Category", number) for number, name in enumerate(DEPARTMENTS)}
    for name, category in departments.items():
        yield f"{category}\t{name}\t{name.lower()}\t{opened}\t\\N"
    for number, (department, kind) in enumerate(_kinds(), start=len(departments)):
        slug = f"{department}-{kind}".lower()
        yield f"{_id(scale, 'Category', number)}\t{kind}s\t{slug}\t{opened}\t{departments[department]}"


def product_rows(scale: Scale, catalogue: list[Product]) -> Iterator[str]:
    """One row a product, in the categories by turns; every fiftieth is retired."""
    categories = [_id(scale, "Category", len(DEPARTMENTS) + number) for number in range(len(_kinds()))]
    for number, item in enumerate(catalogue):
        bits = mix(scale.seed, _STREAM + 4, number)
        slug = item.name.lower().replace("no. ", "").replace(" ", "-")
        metadata = f'{{"weightGrams": {50 + bits % 4_000}, "colour": "{("white", "blue", "green")[bits >> 60 & 1]}"}}'
        created = text_of(_opened(scale) + number)
        status = "ACTIVE" if (number + 1) % 50 else "RETIRED"
        yield (
            f"{item.id}\tSKU-{number:06d}\t{slug}\t{item.name}\tGenerated product {number}\t{money(item.cents)}\t"
            f"{categories[number % len(categories)]}\t{created}\t{created}\t{metadata}\t{status}"
        )


def inventory_rows(scale: Scale, catalogue: list[Product]) -> Iterator[str]:
    """Enough of everything that a long run of shoppers does not sell out."""
    counted = text_of(scale.first_order)
    for number, item in enumerate(catalogue):
        quantity = 100_000 + mix(scale.seed, _STREAM + 5, number) % 900_000
        yield f"{_id(scale, 'Inventory', number)}\t{item.id}\t{quantity}\t1000\t{counted}"
