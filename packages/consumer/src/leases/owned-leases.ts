import { inParallel } from '../in-parallel.ts'
import { isFinished, type Lease, leaseFromItem } from './lease.ts'
import type { Table } from './table.ts'

/** What a look at the owner index showed. */
export interface OwnedLook {
  /** Unfinished leases that this worker owns and doesn't read yet, consistently read. */
  readonly found: readonly Lease[]
  /** Keys that were in the index and aren't any more: lost, handed away, or the index lags. */
  readonly vanished: readonly string[]
}

/**
 * How a worker that doesn't lead learns of its leases: by the table's owner index, which costs what it owns and not what the
 * application has. The index lags behind the table, so it is only a hint: what it shows is read from the table itself.
 */
export class OwnedLeases {
  readonly #table: Table
  readonly #workerId: string
  #keys: ReadonlySet<string> = new Set()
  /** A finished lease keeps its owner, and doesn't change any more. */
  readonly #finished = new Set<string>()

  constructor(table: Table, workerId: string) {
    this.#table = table
    this.#workerId = workerId
  }

  async look(isRead: (leaseKey: string) => boolean): Promise<OwnedLook> {
    const keys = new Set(await this.#table.ownedKeys(this.#workerId))
    const vanished = [...this.#keys].filter((key) => !keys.has(key))
    this.#keys = keys
    for (const key of this.#finished) if (!keys.has(key)) this.#finished.delete(key)
    const unknown = [...keys].filter((key) => !isRead(key) && !this.#finished.has(key))
    const found: Lease[] = []
    await inParallel(unknown, async (key) => {
      const item = await this.#table.read('lease', key)
      const lease = item && leaseFromItem(item)
      if (lease === undefined) return
      if (isFinished(lease)) this.#finished.add(key)
      else found.push(lease)
    })
    return { found, vanished }
  }
}
