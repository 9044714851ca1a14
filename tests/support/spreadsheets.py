"""Excel files as a program writes them, made of the least that there has to be."""

import zipfile
from collections.abc import Sequence
from io import BytesIO
from xml.sax.saxutils import escape

_TYPES = """<?xml version="1.0" encoding="UTF-8"?>
<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">
<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>
<Default Extension="xml" ContentType="application/xml"/>
<Override PartName="/xl/workbook.xml"
 ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/></Types>"""
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_RELATIONS = """<?xml version="1.0" encoding="UTF-8"?>
<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{}</Relationships>"""
_STYLES = (
    f"""<styleSheet xmlns="{_MAIN}"><cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="14"/></cellXfs></styleSheet>"""
)

Value = str | int | float | None


def sheet(rows: Sequence[Sequence[Value]]) -> str:
    """The XML of a sheet; None is a cell that is not there."""
    lines = (
        f'<row r="{number}">{"".join(_cell(number, column, value) for column, value in enumerate(row))}</row>'
        for number, row in enumerate(rows, start=1)
    )
    return f'<worksheet xmlns="{_MAIN}"><sheetData>{"".join(lines)}</sheetData></worksheet>'


def _cell(row: int, column: int, value: Value) -> str:
    place = f"{chr(ord('A') + column)}{row}"
    if value is None:
        return ""
    if isinstance(value, str):
        return f'<c r="{place}" t="inlineStr"><is><t>{escape(value)}</t></is></c>'
    return f'<c r="{place}"><v>{value}</v></c>'


def xlsx(*sheets: str, hidden: int = 0) -> bytes:
    """An Excel file of sheets, the first `hidden` of which are hidden."""
    names = [f"sheet{number}" for number in range(1, len(sheets) + 1)]
    states = ["hidden"] * hidden + ["visible"] * (len(sheets) - hidden)
    listed = "".join(
        f'<sheet name="{name}" sheetId="{number}" r:id="r{number}" state="{state}"/>'
        for number, (name, state) in enumerate(zip(names, states, strict=True), start=1)
    )
    targets = "".join(
        f'<Relationship Id="r{number}" Type="{_OFFICE}/worksheet" Target="worksheets/{name}.xml"/>'
        for number, name in enumerate(names, start=1)
    )
    targets += f'<Relationship Id="rs" Type="{_OFFICE}/styles" Target="styles.xml"/>'
    whole = f'<Relationship Id="r1" Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/>'
    parts = {
        "[Content_Types].xml": _TYPES,
        "_rels/.rels": _RELATIONS.format(whole),
        "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>{listed}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": _RELATIONS.format(targets),
        "xl/styles.xml": _STYLES,
        **{f"xl/worksheets/{name}.xml": content for name, content in zip(names, sheets, strict=True)},
    }
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, part in parts.items():
            packed.writestr(name, part)
    return buffer.getvalue()
