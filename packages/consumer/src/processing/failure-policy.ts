import type { SendDeadLetter } from './dead-letter.ts'

/**
 * What becomes of a record that is tried no more.
 *
 * - `stop`: its shard stops there, and begins again at it later. Nothing is passed over.
 * - `deadLetter`: a function keeps it elsewhere; then it counts as finished.
 * - `skip`: it counts as finished.
 */
export type FailurePolicy = 'stop' | 'deadLetter' | 'skip'

/** How failures of handlers are met. */
export interface FailureOptions {
  readonly failurePolicy: FailurePolicy
  /** Given exactly with the policy `deadLetter`. */
  readonly deadLetter?: SendDeadLetter | undefined
  /** How often a record is tried before the policy decides; a batch of several is tried twice, then in halves. */
  readonly maxAttempts: number
  /** For how long after its first failure a record is tried again, in milliseconds; Infinity: as often as `maxAttempts` says. */
  readonly maxAgeMs: number
  /** How long an attempt may take, in milliseconds; undefined: as long as it likes. */
  readonly handlerTimeoutMs?: number | undefined
  /** How long an attempt that was told to give up may take to settle, in milliseconds. */
  readonly closeTimeout: number
}
