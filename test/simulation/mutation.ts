/** A bug to plant into a source, as a replacement of text that must be there exactly once. */
export interface Mutation {
  readonly name: string
  /** Below `packages/`. */
  readonly file: string
  readonly from: string
  readonly to: string
  /** A seed that is known to notice it, to begin with; any other will do. */
  readonly noticedBy: number
}

/** @throws if the text to replace isn't there exactly once: then the mutation has to be brought up to date */
export function mutated(source: string, { name, file, from, to }: Mutation): string {
  const count = source.split(from).length - 1
  if (count !== 1) throw new Error(`mutation "${name}": expected its text once in ${file}, found it ${count} times`)
  return source.replace(from, () => to)
}
