import { FULL_HASH_RANGE, isSentinel, overlaps } from '@shardwise/records'
import { leaseKeyOf } from '../streams/stream-source.ts'
import { compareShardIds, isFinished, type Lease, leaseFromItem } from './lease.ts'
import type { Table } from './table.ts'

/**
 * Tells whether shards may be read: everything that came before them under their hash keys is finished. One for a worker.
 *
 * A parent without a lease doesn't block: it is from before the application's time, or was finished and cleaned up. But it may
 * also have expired before it ever had a lease, while a shard above it is still being handled. So before a child's first read
 * the leases are looked through for unfinished ones above it.
 *
 * The first leases of an application, of which all are made together, say so themselves: then no look is needed. Otherwise one
 * is enough, since no lease comes to be above one that exists: when a shard's lease is made, those above it have
 * theirs already, or never get one. So the look need only begin after the lease was seen; all leases that wait at the same time
 * share it; and from then on only what it found above is read, by key, until that is finished.
 */
export class Parents {
  readonly #table: Table
  /** The leases above each lease that waits, as found by its look. */
  readonly #above = new Map<string, readonly string[]>()
  /** What each of them waits for, as last seen: ids of shards. */
  readonly #unfinished = new Map<string, readonly string[]>()
  #look: Promise<Lease[]> | undefined
  #nextLook: Promise<Lease[]> | undefined

  constructor(table: Table) {
    this.#table = table
  }

  /** To be asked again until it is so. Rejects if the table can't be read. */
  async areFinished(lease: Lease): Promise<boolean> {
    const unfinished = await this.#unfinishedAbove(lease)
    if (unfinished.length === 0) this.#unfinished.delete(lease.leaseKey)
    else
      this.#unfinished.set(
        lease.leaseKey,
        unfinished.map(({ shardId }) => shardId),
      )
    return unfinished.length === 0
  }

  /** The unfinished shards that a lease was last found to wait for. */
  waitingFor({ leaseKey }: Lease): readonly string[] {
    return this.#unfinished.get(leaseKey) ?? []
  }

  async #unfinishedAbove(lease: Lease): Promise<readonly Lease[]> {
    const { streamIdentifier, parentShardIds, checkpoint, leaseKey, isTop } = lease
    const parents = await this.#read(parentShardIds.map((id) => leaseKeyOf(streamIdentifier, id)))
    const unfinished = parents.filter((parent) => parent !== undefined).filter((parent) => !isFinished(parent))
    if (unfinished.length > 0) return unfinished
    if (isTop || !parents.includes(undefined) || !isSentinel(checkpoint)) return []
    const known = this.#above.get(leaseKey)
    const others = known === undefined ? await this.#lookThrough() : await this.#read(known)
    const above = others
      .filter((other) => other !== undefined)
      .filter((other) => !isFinished(other) && isAbove(other, lease))
    if (above.length > 0)
      this.#above.set(
        leaseKey,
        above.map((other) => other.leaseKey),
      )
    else this.#above.delete(leaseKey)
    return above
  }

  async #read(keys: readonly string[]): Promise<(Lease | undefined)[]> {
    const items = await Promise.all(keys.map((key) => this.#table.read('lease', key)))
    return items.map((item) => item && leaseFromItem(item))
  }

  /** All leases, by a look that begins now or later: one under way may have passed by where something has been added since. */
  #lookThrough(): Promise<Lease[]> {
    if (this.#look === undefined) return this.#begin()
    this.#nextLook ??= this.#look
      .catch(() => [])
      .then(() => {
        this.#nextLook = undefined
        return this.#begin()
      })
    return this.#nextLook
  }

  #begin(): Promise<Lease[]> {
    const look = this.#scan().finally(() => {
      if (this.#look === look) this.#look = undefined
    })
    this.#look = look
    return look
  }

  async #scan(): Promise<Lease[]> {
    const items = await this.#table.scan({ consistent: true })
    return items.flatMap((item) => leaseFromItem(item) ?? [])
  }
}

/** A lease that doesn't tell its hash range counts as above: until the leader has added it, or its reader found its shard gone. */
function isAbove(other: Lease, { streamIdentifier, shardId, hashRange }: Lease): boolean {
  return (
    other.streamIdentifier === streamIdentifier &&
    compareShardIds(other.shardId, shardId) < 0 &&
    hashRange !== undefined &&
    overlaps(other.hashRange ?? FULL_HASH_RANGE, hashRange)
  )
}
