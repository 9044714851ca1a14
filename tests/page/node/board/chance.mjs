/** Drawings made at random: the same for the same seed. */

/** Return a function that gives numbers from 0 to 1. @param {number} seed */
export function chance(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Return a step that somebody might take. @param {() => number} next @param {{width: number, height: number}} size */
export function anyStep(next, { width, height }) {
  const kinds = ["brush", "brush", "brush", "lasso", "lasso", "box", "invert", "clear", "image", "extend"];
  const kind = kinds[Math.floor(next() * kinds.length)];
  const place = () => [next() * width * 1.4 - width * 0.2, next() * height * 1.4 - height * 0.2];
  const erase = next() < 0.3;
  const several = 1 + Math.floor(next() * 6);
  if (kind === "brush") {
    const pen = next() < 0.5;
    const radius = 0.71 + next() * 9;
    return { kind, erase, points: Array.from({ length: several }, () => [...place(), pen ? 0.71 + next() * 9 : radius]).flat() };
  }
  if (kind === "lasso") return { kind, erase, points: Array.from({ length: several + 2 }, place).flat() };
  if (kind === "box") return { kind, erase, points: [...place(), ...place()] };
  if (kind === "extend") {
    const side = () => Math.floor(next() * 90);
    return { kind, margins: { left: side(), top: side(), right: side(), bottom: side() } };
  }
  if (kind === "image") {
    const runs = Array.from({ length: height }, () => {
      const from = Math.floor(next() * (width - 2));
      return next() < 0.5 ? [] : [from, from + 1 + Math.floor(next() * (width - from - 1))];
    });
    return { kind, runs };
  }
  return { kind };
}
