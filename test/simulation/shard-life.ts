import type { ProcessingPlan } from './plan-processing.ts'
import type { StoredStream, StoredUserRecord } from './stored-stream.ts'
import { type Invariant, Violation } from './violation.ts'

export interface ShardLifeOptions {
  /** Which worker, and which shard of which stream. */
  readonly name: string
  readonly stored: StoredStream
  readonly nowMs: () => number
  readonly processing: ProcessingPlan | undefined
  readonly maxAheadRecords: number
  readonly report: (violation: Violation) => void
}

/** A handler, and what it was called with. */
interface Handling {
  readonly records: readonly StoredUserRecord[]
  readonly signal: AbortSignal
}

/**
 * What its hooks have been told: `uncertain` if the first was told to give up and came back all the same, `over` once one of the last three
 * has succeeded.
 */
type Stage = 'taken' | 'starting' | 'uncertain' | 'started' | 'ending' | 'ended' | 'releasing' | 'over'

export type Hook = 'onShardStart' | 'onShardEnd' | 'onShardRelease' | 'onLeaseLost'

/** What may come before each. */
const BEFORE: Readonly<Record<Hook, readonly Stage[]>> = {
  onShardStart: ['taken', 'starting'],
  onShardEnd: ['started', 'ending'],
  onShardRelease: ['started', 'uncertain', 'ending'],
  onLeaseLost: ['started', 'uncertain', 'ending', 'releasing'],
}
/** Timers come a little early, and clocks run a little fast. */
const EARLY_MS = 2
const EARLY_SHARE = 0.005

/** One shard in the hands of one worker, from when it has taken the lease up: what it begins of it, and what it tells its hooks. */
export class ShardLife {
  readonly #options: ShardLifeOptions
  #stage: Stage = 'taken'
  /** What has been begun, and what of it was finished here. */
  readonly #begun = new Set<StoredUserRecord>()
  readonly #finished = new Set<StoredUserRecord>()
  /** Of each line, how far it has been finished here. */
  readonly #last = new Map<string, number>()
  readonly #running = new Set<Handling>()
  readonly #named = new Set<string>()
  #newest: StoredUserRecord | undefined
  #stoppedUntilMs: number | undefined
  #stoppedSinceMs = 0
  #failedEnds = 0
  /** Whether its program has paused it. */
  isPaused = false

  constructor(options: ShardLifeOptions) {
    this.#options = options
  }

  /** Whether it has stopped at a record that failed for good. */
  get isStopped(): boolean {
    return this.#stoppedUntilMs !== undefined
  }

  /** For how long it has. */
  get stoppedForMs(): number {
    return this.isStopped ? this.#options.nowMs() - this.#stoppedSinceMs : 0
  }

  /** A handler is called. */
  begin(handling: Handling): void {
    const { records } = handling
    const { processing } = this.#options
    if (processing?.hasHooks && this.#stage !== 'started') {
      this.#object('hooks in their order', `a record is begun when the shard is ${this.#stage}`)
    }
    if (this.#stoppedUntilMs !== undefined) {
      this.#object('a stopped shard rests', `${records[0]?.text} is begun though the shard has stopped`)
    }
    for (const record of records) {
      if (this.isPaused && !this.#begun.has(record)) {
        this.#object('a stopped shard rests', `${record.text} is begun though the shard is paused`)
      }
      this.#checkForward(record)
      this.#begun.add(record)
    }
    this.#checkSpan(records)
    this.#running.add(handling)
  }

  /** A handler is done, well or not. */
  settle(handling: Handling, isFinished: boolean): void {
    this.#running.delete(handling)
    if (isFinished) for (const record of handling.records) this.pass(record)
  }

  /** It is finished, or given up. */
  pass(record: StoredUserRecord): void {
    this.#finished.add(record)
    const line = this.#lineOf(record)
    if (line !== undefined) this.#last.set(line, Math.max(record.index, this.#last.get(line) ?? -1))
  }

  /** It rests for so long; for ever if it isn't tried again here. */
  stop(restMs: number): void {
    this.#stoppedSinceMs = this.#options.nowMs()
    this.#stoppedUntilMs = this.#options.nowMs() + restMs * (1 - EARLY_SHARE) - EARLY_MS
  }

  /** It may be tried again at once. */
  mayGoOn(): void {
    if (this.#stoppedUntilMs !== undefined) this.#stoppedUntilMs = Number.NEGATIVE_INFINITY
  }

  /** It is read again. */
  goOn(): void {
    const earlyMs = (this.#stoppedUntilMs ?? Number.NEGATIVE_INFINITY) - this.#options.nowMs()
    if (this.#stoppedUntilMs === undefined) {
      this.#object('a stopped shard rests', 'it goes on though it had not stopped')
    } else if (earlyMs > 0) {
      this.#object('a stopped shard rests', `it goes on ${earlyMs.toFixed(0)} ms too early`)
    }
    this.#stoppedUntilMs = undefined
  }

  /** A hook is called. */
  hook(hook: Hook): void {
    if (!BEFORE[hook].includes(this.#stage)) {
      this.#object('hooks in their order', `${hook} is called when the shard is ${this.#stage}`)
    }
    if (hook === 'onShardStart') this.#stage = 'starting'
    else if (hook === 'onShardEnd') this.#stage = 'ending'
    else this.#stage = hook === 'onShardRelease' ? 'releasing' : 'over'
    if (hook !== 'onShardStart' && [...this.#running].some(({ signal }) => !signal.aborted)) {
      this.#object('hooks in their order', `${hook} is called while handlers run`)
    }
  }

  /** A hook is done. */
  hooked(hook: Hook, signal: AbortSignal, succeeded: boolean): void {
    if (hook === 'onShardStart' && this.#stage === 'starting' && succeeded) {
      this.#stage = signal.aborted ? 'uncertain' : 'started'
    }
    if (hook === 'onShardEnd' && this.#stage === 'ending') {
      if (succeeded) this.#stage = 'ended'
      else this.#failedEnds++
    }
    if (hook === 'onShardRelease' && this.#stage === 'releasing' && succeeded && !signal.aborted) this.#stage = 'over'
  }

  /** How often the hook at its end has failed. */
  get failedEnds(): number {
    return this.#failedEnds
  }

  /** The worker is about to write that the shard has ended, or to give its lease back. */
  write(write: 'end' | 'release'): void {
    if (!this.#options.processing?.hasHooks) return
    const isDone = write === 'end' ? this.#stage === 'ended' : !['started', 'ending'].includes(this.#stage)
    if (!isDone)
      this.#object('hooks in their order', `the lease's last write (${write}) is sent when the shard is ${this.#stage}`)
  }

  /** The worker has taken the lease up anew, or is gone in good order. */
  close(): void {
    if (!this.#options.processing?.hasHooks || !['started', 'ending'].includes(this.#stage)) return
    this.#object('hooks in their order', `nobody was told of its end: it is ${this.#stage}`)
  }

  /** A handler names a place for a checkpoint. */
  name({ sequenceNumber, subSequenceNumber }: StoredUserRecord): void {
    this.#named.add(`${sequenceNumber}:${subSequenceNumber}`)
  }

  isNamed(sequenceNumber: string, subSequenceNumber: number): boolean {
    return this.#named.has(`${sequenceNumber}:${subSequenceNumber}`)
  }

  #checkForward(record: StoredUserRecord): void {
    const line = this.#lineOf(record)
    const isBack = line !== undefined && record.index < (this.#last.get(line) ?? -1)
    if (this.#finished.has(record) || isBack) {
      this.#object('in line in the shard', `${record.text} comes after it, or one behind it, was finished here`)
    }
  }

  #lineOf({ key }: StoredUserRecord): string | undefined {
    const { ordering = 'key' } = this.#options.processing ?? {}
    if (ordering === 'shard') return ''
    return ordering === 'key' && key !== '' ? key : undefined
  }

  #checkSpan(records: readonly StoredUserRecord[]): void {
    const last = records.at(-1)
    if (last === undefined) return
    if (this.#newest === undefined || last.index > this.#newest.index) this.#newest = last
    const newest = this.#newest
    const { stored, nowMs, maxAheadRecords, processing } = this.#options
    const oldest = stored.firstOpen(newest.shard, nowMs())
    if (oldest === undefined || oldest.index > newest.index) return
    const { maxAheadBytes = Number.POSITIVE_INFINITY } = processing ?? {}
    const between = newest.shard.records.slice(oldest.index, newest.index)
    // What can't be read is no user record.
    const count = 1 + between.filter(({ isDamaged }) => !isDamaged).length
    const bytes = between.reduce((sum, each) => sum + (each.isDamaged ? 0 : each.bytes), 0)
    if (count > maxAheadRecords || (bytes > maxAheadBytes && count > 1)) {
      this.#object(
        'span is bounded',
        `${newest.text} was begun with ${count} records of ${bytes} bytes from ${oldest.text} on, the first that isn't finished`,
      )
    }
  }

  #object(invariant: Invariant, message: string): void {
    this.#options.report(new Violation(invariant, `${this.#options.name}: ${message}`))
  }
}
