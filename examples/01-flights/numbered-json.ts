/**
 * Puts the record's number in the run in front, as the field `#`. The rest of the text stays as it is, to the letter:
 * parsing and printing it again would change big integers.
 *
 * @param json the text of a JSON object without a field `#` and without space around it
 */
export function withNumber(json: string, number: number): string {
  return isEmptyObject(json) ? `{"#":${number}}` : `{"#":${number},${json.slice(1)}`
}

/** The length of what {@link withNumber} was given, from the length of what it gave. */
export function bytesWithoutNumber(bytes: number, number: number): number {
  const field = `"#":${number}`.length
  // Only an empty object gets no comma; "{}" with space inside is not told apart here, so the source has it without.
  return bytes === field + 2 ? 2 : bytes - field - 1
}

function isEmptyObject(json: string): boolean {
  return json.length === 2
}
