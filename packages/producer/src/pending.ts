/** Where an acknowledged user record is. */
export interface Receipt {
  readonly shardId: string
  readonly sequenceNumber: string
  /** Its index inside its aggregate; 0 for a lone record. */
  readonly subSequenceNumber: number
  /** How often it was sent, at least 1. */
  readonly attempts: number
  /**
   * Why another copy of it is or may be in the stream as well: `misplaced`: its aggregate landed, by a reshard, where not
   * all of it belongs, and was sent again; `unknown`: an earlier attempt got no answer.
   */
  readonly earlierCopy: EarlierCopy | undefined
}

export type EarlierCopy = 'misplaced' | 'unknown'

/** Everything that a `put` is waiting with, beside the bytes. */
export interface Pending {
  readonly resolve: (receipt: Receipt) => void
  readonly reject: (error: Error) => void
  /** The flush that waits for it counts here. */
  readonly epoch: Epoch
  readonly arrivedMs: number
  readonly bytes: number
  attempts: number
  earlierCopy: EarlierCopy | undefined
  lastError: Error | undefined
}

/** The puts between two flushes. */
export class Epoch {
  #pending = 0
  #closed = false
  readonly #settled: PromiseWithResolvers<void> = Promise.withResolvers()

  add(): void {
    this.#pending++
  }

  settleOne(): void {
    this.#pending--
    this.#check()
  }

  /** No more puts will be added. Resolves when all of them are settled. */
  close(): Promise<void> {
    this.#closed = true
    this.#check()
    return this.#settled.promise
  }

  #check(): void {
    if (this.#closed && this.#pending === 0) this.#settled.resolve()
  }
}
