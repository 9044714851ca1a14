/** Persons of a key, as they are named to people. */

const OF_DIFY = /^[0-9a-f]{40}$/;
const OF_A_LINK = /^guest:(.*)$/;

/**
 * Return who a person is: of Dify (the plugin names them by a hash), of a studio link, or of a name of its own; null
 * where nobody was named.
 * @param {string | null | undefined} person
 * @returns {{kind: "dify" | "link" | "own", name: string} | null}
 */
export function person(person) {
  if (!person) return null;
  const link = OF_A_LINK.exec(person);
  if (link) return { kind: "link", name: link[1].slice(0, 8) };
  return OF_DIFY.test(person) ? { kind: "dify", name: person.slice(0, 8) } : { kind: "own", name: person };
}
