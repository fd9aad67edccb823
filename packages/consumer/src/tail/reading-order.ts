import { FULL_HASH_RANGE, findHoles, type HashRange } from '@shardwise/records'
import { compareShardIds } from '../leases/lease.ts'
import type { ChildShard } from '../retrieval/shard-children.ts'

/** A shard whose turn to be read has come. */
export interface Turn extends ChildShard {
  /** It was open at the starting position, and is read from there; any other is read from its oldest record. */
  readonly isAtStart: boolean
}

/**
 * In which order the shards of a stream are read when one reader reads them all: each after all of its parents, so that the
 * records of a key come in their order. A parent that the stream doesn't list any more has expired and holds nothing up.
 *
 * The shards that wait and those that are being read cover all hash keys: what ended is followed by its children. Where they
 * don't, or a parent isn't known, a listing has to tell.
 */
export class ReadingOrder {
  /** In the order in which they came to be known. */
  readonly #waiting = new Map<string, Turn>()
  readonly #reading = new Map<string, Turn>()
  /** Read to their ends, expired, or before the start. */
  readonly #over = new Set<string>()
  #mayHaveHole = true

  /**
   * @param listed all shards that the stream lists
   * @param openAtStart those that were open at the starting position; what was over by then isn't read. Default: all
   */
  constructor(listed: readonly ChildShard[], openAtStart: readonly ChildShard[] = listed) {
    const atStart = new Set(openAtStart.map(({ shardId }) => shardId))
    const all = new Map([...openAtStart, ...listed].map((shard) => [shard.shardId, shard]))
    // The service numbers shards as it makes them: parents come before their children.
    for (const shard of [...all.values()].sort((a, b) => compareShardIds(a.shardId, b.shardId))) {
      const isAtStart = atStart.has(shard.shardId)
      if (isAtStart || shard.parentShardIds.some((id) => this.#waiting.has(id))) this.#add(shard, isAtStart)
      else this.#over.add(shard.shardId)
    }
    this.#passOverExpired(listed)
  }

  /** Hash keys that no known shard covers, or a parent that isn't known: the stream has to be listed. */
  get isIncomplete(): boolean {
    this.#mayHaveHole &&= this.#holes().length > 0
    return this.#mayHaveHole || this.#unknownParents().length > 0
  }

  /** The shards that may be read now; each is given once. */
  take(): Turn[] {
    const turns = [...this.#waiting.values()].filter(({ parentShardIds }) =>
      parentShardIds.every((id) => this.#over.has(id)),
    )
    for (const turn of turns) {
      this.#waiting.delete(turn.shardId)
      this.#reading.set(turn.shardId, turn)
    }
    return turns
  }

  /** Everything of the shard has been given out. @param children as far as they are known */
  ended(shardId: string, children: readonly ChildShard[]): void {
    const { hashRange } = this.#reading.get(shardId) ?? { hashRange: FULL_HASH_RANGE }
    this.#reading.delete(shardId)
    this.#over.add(shardId)
    for (const child of children) this.#add(child, false)
    this.#mayHaveHole ||= !covers(children, hashRange)
  }

  /** Takes in all shards that the stream lists now. */
  listed(shards: readonly ChildShard[]): void {
    for (const shard of shards) this.#add(shard, false)
    this.#passOverExpired(shards)
  }

  #add({ shardId, hashRange, parentShardIds }: ChildShard, isAtStart: boolean): void {
    if (this.#over.has(shardId) || this.#reading.has(shardId) || this.#waiting.has(shardId)) return
    this.#waiting.set(shardId, { shardId, hashRange, parentShardIds, isAtStart })
  }

  /** A listing may be late. One that shows a shard, or a younger one, would show its parents too. */
  #passOverExpired(listed: readonly ChildShard[]): void {
    const reachesTo = (shardId: string): boolean => listed.some((shard) => compareShardIds(shard.shardId, shardId) >= 0)
    for (const { shardId, parentId } of this.#unknownParents()) if (reachesTo(shardId)) this.#over.add(parentId)
  }

  #unknownParents(): { readonly shardId: string; readonly parentId: string }[] {
    const isKnown = (id: string): boolean => this.#over.has(id) || this.#reading.has(id) || this.#waiting.has(id)
    return [...this.#waiting.values()].flatMap(({ shardId, parentShardIds }) =>
      parentShardIds.filter((id) => !isKnown(id)).map((parentId) => ({ shardId, parentId })),
    )
  }

  #holes(): HashRange[] {
    return findHoles([...this.#reading.values(), ...this.#waiting.values()].map(({ hashRange }) => hashRange))
  }
}

function covers(children: readonly ChildShard[], { start, end }: HashRange): boolean {
  return !findHoles(children.map(({ hashRange }) => hashRange)).some((hole) => hole.start <= end && start <= hole.end)
}
