/** What is paused or resumed: everything, a stream, or a shard. */
export interface Pausable {
  /** The stream's name or ARN, as in `status()`. Default: every stream. */
  readonly stream?: string | undefined
  /** Default: every shard. */
  readonly shardId?: string | undefined
}

interface Rule extends Pausable {
  readonly paused: boolean
}

/** Which shards are paused: for each the last word that was said of it counts, also if it was taken up later. */
export class Pauses {
  #rules: readonly Rule[] = []

  set(which: Pausable, paused: boolean): void {
    // What was said of a part of it before is of no account any more.
    const others = this.#rules.filter((rule) => !covers(which, rule))
    this.#rules = others.length === 0 && !paused ? [] : [...others, { ...which, paused }]
  }

  isPaused(stream: string, shardId: string): boolean {
    return this.#rules.findLast((rule) => covers(rule, { stream, shardId }))?.paused ?? false
  }
}

/** Whether everything that `part` means is among what `whole` means. */
export function covers(whole: Pausable, part: Pausable): boolean {
  return (
    (whole.stream === undefined || whole.stream === part.stream) &&
    (whole.shardId === undefined || whole.shardId === part.shardId)
  )
}
