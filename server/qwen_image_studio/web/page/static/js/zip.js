/** ZIP files without compression, since pictures are compressed already. */

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? (n >>> 1) ^ 0xedb88320 : n >>> 1;
  return n;
});

/** @param {Uint8Array} data */
function crc32(data) {
  let crc = ~0;
  for (const byte of data) crc = TABLE[(crc ^ byte) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** Return numbers as bytes, the lowest first. @param {[value: number, bytes: 2 | 4][]} fields */
function packed(fields) {
  const view = new DataView(new ArrayBuffer(fields.reduce((sum, [, bytes]) => sum + bytes, 0)));
  let at = 0;
  for (const [value, bytes] of fields) {
    if (bytes === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += bytes;
  }
  return view.buffer;
}

/** Return time and date as MS-DOS has them. @param {number} at in Unix seconds @returns {[number, 2][]} */
function stamp(at) {
  const d = new Date(at * 1000);
  return [
    [(d.getHours() << 11) | (d.getMinutes() << 5) | (d.getSeconds() >> 1), 2],
    [(Math.max(0, d.getFullYear() - 1980) << 9) | ((d.getMonth() + 1) << 5) | d.getDate(), 2],
  ];
}

/**
 * Return files as one ZIP, in their order; two of one name get different ones.
 * @param {readonly {name: string, data: Blob, at: number}[]} files `at` in Unix seconds
 */
export async function zipped(files) {
  const names = new Set();
  const parts = /** @type {BlobPart[]} */ ([]);
  const directory = /** @type {BlobPart[]} */ ([]);
  let [offset, size] = [0, 0];
  for (const { name: wished, data, at } of files) {
    let name = wished;
    for (let n = 2; names.has(name); n++) name = wished.replace(/(\.\w+)?$/, ` (${n})$1`);
    names.add(name);
    const spelled = new TextEncoder().encode(name);
    /** @type {[number, 2 | 4][]} */
    const facts = [[20, 2], [0x800, 2], [0, 2], ...stamp(at), [crc32(new Uint8Array(await data.arrayBuffer())), 4], [data.size, 4], [data.size, 4], [spelled.length, 2], [0, 2]];
    parts.push(packed([[0x04034b50, 4], ...facts]), spelled, data);
    directory.push(packed([[0x02014b50, 4], [20, 2], ...facts, [0, 2], [0, 2], [0, 2], [0, 4], [offset, 4]]), spelled);
    offset += 30 + spelled.length + data.size;
    size += 46 + spelled.length;
  }
  const n = names.size;
  const end = packed([[0x06054b50, 4], [0, 2], [0, 2], [n, 2], [n, 2], [size, 4], [offset, 4], [0, 2]]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}
