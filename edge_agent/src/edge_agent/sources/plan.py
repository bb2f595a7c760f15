"""Which requests read a component: the fewest that split no value and touch no hole. Pure."""

from dataclasses import dataclass

from shared.reactor_config import Component, Register

CYCLE = ""  # the device's cycle counter among the fields of a block; no tag can have this name


@dataclass(frozen=True, slots=True)
class Field:
    """One value in a block: a tag's name, or CYCLE."""

    name: str
    register: Register


@dataclass(frozen=True, slots=True)
class Block:
    """One read request: fields of one table in order of address, nothing but readable gaps between."""

    fields: tuple[Field, ...]

    @property
    def table(self) -> str:
        return self.fields[0].register.table

    @property
    def address(self) -> int:
        return self.fields[0].register.address

    @property
    def count(self) -> int:
        last = self.fields[-1].register
        return last.address + last.count - self.address

    @property
    def request(self) -> str:
        """For people: the table and its first and last address."""
        return f"{self.table} {self.address}..{self.address + self.count - 1}"

    def halves(self) -> tuple["Block", "Block"]:
        """Two blocks of half the fields each; only for a block of at least two."""
        middle = len(self.fields) // 2
        return Block(self.fields[:middle]), Block(self.fields[middle:])


def plan(component: Component) -> tuple[Block, ...]:
    """The requests that read every tag and the cycle counter once, within what the device answers.

    Filling each request from the lowest address on is optimal: a run without holes must be cut, and
    each cut is made as late as the limit and whole values allow.
    """
    fields = [Field(name, tag.register_) for name, tag in component.tags.items()]
    if component.cycle_register is not None:
        fields.append(Field(CYCLE, component.cycle_register))
    fields.sort(key=lambda field: (field.register.table, field.register.address))
    readable: set[tuple[str, int]] = {
        (gap.table, address)
        for gap in component.readable_gaps
        for address in range(gap.address, gap.address + gap.count)
    }
    groups: list[list[Field]] = []
    for field in fields:
        if groups and _fits(groups[-1], field, component.registers_per_read_max, readable):
            groups[-1].append(field)
        else:
            groups.append([field])
    return tuple(Block(tuple(group)) for group in groups)


def _fits(group: list[Field], field: Field, registers_max: int, readable: set[tuple[str, int]]) -> bool:
    first, last, new = group[0].register, group[-1].register, field.register
    if new.table != last.table or new.address + new.count - first.address > registers_max:
        return False
    hole = range(last.address + last.count, new.address)
    return all((new.table, address) in readable for address in hole)
