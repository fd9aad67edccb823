import type { Link } from '@opentelemetry/api'

/** One time that a user record was sent, and what became of it. */
export interface Attempt {
  /** When, in milliseconds since 1970. */
  readonly sentMs: number
  /** Until the answer. */
  readonly durationMs: number
  /** The service's or the network's name for the failure; `WrongShard`: accepted, but not where all of its aggregate belongs. Undefined: accepted. */
  readonly code: string | undefined
  readonly message: string | undefined
}

/** Where an acknowledged user record is. */
export interface Receipt {
  readonly shardId: string
  readonly sequenceNumber: string
  /** Its index inside its aggregate; 0 for a lone record. */
  readonly subSequenceNumber: number
  /** Every time it was sent, the last one accepted. Records that shared all of them share the array. */
  readonly attempts: readonly Attempt[]
  /**
   * Why another copy of it is or may be in the stream as well: `misplaced`: its aggregate landed, by a reshard, where not
   * all of it belongs, and was sent again; `unknown`: an earlier attempt got no answer.
   */
  readonly earlierCopy: EarlierCopy | undefined
}

export type EarlierCopy = 'misplaced' | 'unknown'

/** Everything that a `put` is waiting with, beside the bytes. */
export interface Pending {
  /** What `put` gave, and how to settle it. */
  readonly promise: Promise<Receipt>
  readonly resolve: (receipt: Receipt) => void
  readonly reject: (error: Error) => void
  /** The flush that waits for it counts here. */
  readonly epoch: Epoch
  readonly arrivedMs: number
  /** Of data and partition key. */
  readonly bytes: number
  /** What was given to `put` where a codec made the bytes. */
  readonly value: unknown
  /** To the span that was active at `put`. */
  readonly link: Link | undefined
  attempts: readonly Attempt[]
  earlierCopy: EarlierCopy | undefined
  lastError: Error | undefined
}

export const NO_ATTEMPTS: readonly Attempt[] = Object.freeze([])

/**
 * What a waiting record takes beside its bytes: promises, functions, its place in a queue. Measured on Node 24 with records of
 * 100 bytes and distinct keys: 460 aggregated, 870 plain.
 */
const RECORD_OVERHEAD_BYTES = 600

/**
 * What a record counts for while it is outstanding. What a codec was given is kept as well, to be handed back: taken to be as
 * large as what was made of it.
 */
export function sizeOf({ bytes, value }: Pending): number {
  return (value === undefined ? bytes : 2 * bytes) + RECORD_OVERHEAD_BYTES
}

/** Adds an attempt to each. */
export function addAttempt(pending: readonly Pending[], attempt: Attempt): void {
  changeAttempts(pending, (before) => [...before, attempt])
}

/** Says something else of the last attempt of each. */
export function changeLastAttempt(pending: readonly Pending[], change: Pick<Attempt, 'code' | 'message'>): void {
  changeAttempts(pending, (before) =>
    before.map((each, index) => (index === before.length - 1 ? { ...each, ...change } : each)),
  )
}

/** One array for all that share the earlier ones: those of an aggregate mostly have all of them in common. */
function changeAttempts(pending: readonly Pending[], change: (before: readonly Attempt[]) => readonly Attempt[]): void {
  let before: readonly Attempt[] | undefined
  let after: readonly Attempt[] = NO_ATTEMPTS
  for (const each of pending) {
    if (each.attempts !== before) {
      before = each.attempts
      after = change(before)
    }
    each.attempts = after
  }
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
