import type { ConsumerError, ConsumerEvent, ConsumerOptions, ConsumerRecord, HandlerContext } from '@shardwise/consumer'
import type { WorkerPlan } from './plan.ts'
import type { ProcessingPlan } from './plan-processing.ts'
import type { SimulatedProcess } from './process.ts'
import { type Hook, ShardLife } from './shard-life.ts'
import { type StoredUserRecord, shardKeyOf, textOf } from './stored-stream.ts'
import { type Invariant, Violation } from './violation.ts'
import type { WatchedStreams } from './watched-streams.ts'

export type DeadLetter = Parameters<NonNullable<ConsumerOptions<unknown>['deadLetter']>>[0]
export type Policy = NonNullable<ProcessingPlan['policy']>

export interface ProcessingWitnessOptions {
  readonly process: SimulatedProcess
  readonly plan: WorkerPlan
  readonly processing: ProcessingPlan | undefined
  readonly policy: Policy
  readonly failoverTime: number
  readonly streams: WatchedStreams
  readonly nowMs: () => number
  /** Told what comes of handling. */
  readonly note: (fate: HandlingFate) => void
  readonly report: (violation: Violation) => void
}

/** What may become of records, and of who handles them. */
export const HANDLING_FATES = [
  'failed',
  'timed out',
  'abandoned',
  'in a batch',
  'not decoded',
  'dead-lettered',
  'letter failed',
  'skipped',
  'damaged',
  'stopped',
  'resumed',
  'paused',
  'hook failed',
  'named',
  'blocked',
] as const
export type HandlingFate = (typeof HANDLING_FATES)[number]

/** Events that tell of one. */
const FATES: Partial<Record<ConsumerEvent['type'], HandlingFate>> = {
  handlerAbandoned: 'abandoned',
  recordDeadLettered: 'dead-lettered',
  deadLetterFailed: 'letter failed',
  recordSkipped: 'skipped',
  undecodableRecord: 'damaged',
  shardStopped: 'stopped',
  shardResumed: 'resumed',
  hookFailed: 'hook failed',
  eventLoopBlocked: 'blocked',
}

/** A handler at work. */
export interface Call {
  succeeded(): void
  failed(): void
}

/** How a record has fared here since its shard was taken up. */
interface History {
  /** Attempts with it alone that have failed. */
  attempts: number
  /** On the process's own clock. */
  firstFailedMs: number
  /** A handler of it went on after it had been given up. */
  isAbandoned: boolean
}

/** The consumer's own. */
const MAX_ATTEMPTS = 10
const CLOSE_MS = 10_000
/** The time is taken once for all handlers that are called in a turn. */
const EARLY_MS = 15
/** Timers come a little late. */
const LATE_MS = 50

/** Looks at what one worker does with the records that it holds: how often it tries them, when it gives them up, and what it says of that. */
export class ProcessingWitness {
  readonly #options: ProcessingWitnessOptions
  readonly #lives = new Map<string, ShardLife>()
  readonly #histories = new Map<StoredUserRecord, History>()
  /** Texts of records that couldn't be decoded here. */
  readonly #misfits = new Set<string>()
  /** What has been kept as a dead letter. */
  readonly #kept = new Set<StoredUserRecord>()
  /** When the table has carried out the last write to each lease, on the process's own clock. */
  readonly #heldMs = new Map<string, number>()
  #isPaused = false
  readonly #pausedShards = new Set<string>()

  constructor(options: ProcessingWitnessOptions) {
    this.#options = options
  }

  /** A handler is called with a record, or a batch of them. Undefined if they are none of its. */
  called(
    records: readonly ConsumerRecord<unknown>[],
    { signal, attempt }: Pick<HandlerContext, 'signal' | 'attempt'>,
  ): Call | undefined {
    const { process, streams } = this.#options
    const [first] = records
    if (first === undefined) {
      this.#object('batches within bounds', 'a handler is called with no records')
      return undefined
    }
    this.#checkBatch(records)
    if (records.length > 1) this.#options.note('in a batch')
    this.#checkHeld(first)
    if (this.#options.processing?.decodingMs !== undefined) this.#checkValues(records)
    const begun = streams.of(first.stream).witness.begun(records, { process, signal })
    if (begun === undefined) return undefined
    const life = this.lifeOf(first)
    const handling = { records: begun.records, signal }
    life.begin(handling)
    this.#checkAttempt(begun.records, attempt)
    const calledMs = process.monotonicMs()
    return {
      succeeded: () => {
        // It may have returned early, since it was told to.
        const isFinished = !signal.aborted
        if (isFinished) begun.finished()
        else {
          begun.over()
          this.#noteFailure(begun.records, signal)
        }
        life.settle(handling, isFinished)
        this.#checkTimeout(begun.records, signal, calledMs)
      },
      failed: () => {
        begun.over()
        this.#options.note('failed')
        life.settle(handling, false)
        this.#noteFailure(begun.records, signal)
        this.#checkTimeout(begun.records, signal, calledMs)
      },
    }
  }

  /** A record's value couldn't be decoded. */
  misfit(text: string): void {
    this.#misfits.add(text)
    this.#options.note('not decoded')
  }

  /** A dead letter has come. Returns a function to call when it is kept. */
  letter(letter: DeadLetter): () => void {
    const { streams } = this.#options
    const { origin, attempts, kind, data } = letter
    const stored = streams.of(origin.stream).witness.storedAt(origin)
    if (
      stored === undefined ||
      stored.isDamaged !== (kind === 'undecodable') ||
      (!stored.isDamaged && textOf(data) !== stored.text)
    ) {
      this.#object(
        'giving up is told',
        `a dead letter says ${kind} of ${origin.shardId} ${origin.sequenceNumber}:${origin.subSequenceNumber}`,
      )
      return () => {}
    }
    this.#checkGivenUp(stored, 'deadLetter', attempts)
    return () => {
      this.#kept.add(stored)
      this.#pass(stored, origin.stream)
    }
  }

  happened(event: ConsumerEvent): void {
    const fate = FATES[event.type]
    if (fate !== undefined) this.#options.note(fate)
    switch (event.type) {
      case 'leaseTaken':
        this.#takenUp(event.stream, event.shardId)
        break
      case 'recordSkipped': {
        const stored = this.#find(event)
        this.#checkGivenUp(stored, 'skip', event.attempts)
        this.#pass(stored, event.stream)
        break
      }
      case 'recordDeadLettered': {
        const stored = this.#find(event)
        if (this.#kept.has(stored)) break
        this.#object('giving up is told', `${stored.text} is said to be a dead letter, and nobody has kept it`)
        break
      }
      case 'shardStopped':
        this.#stopped(event)
        break
      case 'shardResumed':
        this.lifeOf(event).goOn()
        break
      case 'handlerAbandoned':
        this.#abandoned(this.#find(event))
        break
    }
  }

  /** Its program has paused all shards, or some: also when they are taken up later. */
  paused(shards: readonly { readonly stream: string; readonly shardId: string }[] | 'all'): void {
    this.#options.note('paused')
    if (shards === 'all') {
      this.#isPaused = true
      for (const life of this.#lives.values()) life.isPaused = true
      return
    }
    for (const shard of shards) {
      this.#pausedShards.add(keyOf(shard))
      this.lifeOf(shard).isPaused = true
    }
  }

  resumed(): void {
    this.#isPaused = false
    this.#pausedShards.clear()
    for (const life of this.#lives.values()) {
      life.isPaused = false
      life.mayGoOn()
    }
  }

  hook(
    hook: Hook,
    shard: { readonly stream: string; readonly shardId: string },
    signal: AbortSignal,
  ): (succeeded: boolean) => void {
    const life = this.lifeOf(shard)
    const { stored } = this.#options.streams.of(shard.stream)
    const open = hook === 'onShardEnd' && stored.firstOpen(stored.shard(shard.shardId)!, this.#options.nowMs())
    if (open)
      this.#object('hooks in their order', `${shard.shardId} is said to be at its end, and ${open.text} isn't finished`)
    life.hook(hook)
    return (succeeded) => life.hooked(hook, signal, succeeded)
  }

  /** The table has carried out what the worker has written to a lease of its own. */
  wrote(stream: string, shardId: string): void {
    this.#heldMs.set(shardKeyOf(stream, shardId), this.#options.process.monotonicMs())
  }

  /** The worker sends the last write of a lease. */
  writes(stream: string, shardId: string, write: 'end' | 'release'): void {
    this.#lives.get(shardKeyOf(stream, shardId))?.write(write)
  }

  /** The worker has closed. */
  closed(): void {
    for (const life of this.#lives.values()) life.close()
  }

  named(record: ConsumerRecord<unknown>): void {
    const stored = this.#options.streams.of(record.stream).witness.storedAt(record)
    if (stored !== undefined) this.lifeOf(record).name(stored)
    this.#options.note('named')
  }

  /** Whether a checkpoint may be there, as far as handlers have a say in that. */
  mayCheckpoint(
    stream: string,
    shardId: string,
    position: { readonly sequenceNumber: string; readonly subSequenceNumber: number },
  ): boolean {
    if (this.#options.processing?.manualShare === undefined) return true
    const life = this.#lives.get(shardKeyOf(stream, shardId))
    return life?.isNamed(position.sequenceNumber, position.subSequenceNumber) ?? false
  }

  /** What is known of a shard that the worker holds, or held last. */
  lifeOf({ stream, shardId }: { readonly stream: string; readonly shardId: string }): ShardLife {
    const key = shardKeyOf(stream, shardId)
    let life = this.#lives.get(key)
    if (life === undefined) {
      const { process, plan, streams } = this.#options
      life = new ShardLife({
        ...this.#options,
        name: `${process.name}, ${key}`,
        stored: streams.of(stream).stored,
        nowMs: this.#options.nowMs,
        maxAheadRecords: plan.maxAheadRecords,
      })
      life.isPaused = this.#isPaused || this.#pausedShards.has(key)
      this.#lives.set(key, life)
    }
    return life
  }

  /** It may count on a lease for so long after a write. Computing may have taken longer, with nobody to tell it that the lease is over. */
  #checkHeld(record: ConsumerRecord<unknown>): void {
    const { process, failoverTime } = this.#options
    const heldMs = process.monotonicMs() - (this.#heldMs.get(keyOf(record)) ?? 0)
    if (heldMs <= failoverTime) return
    this.#object(
      'nothing under a lease that is over',
      `begins ${textOf(record.data)} of ${record.shardId} ${heldMs.toFixed(0)} ms after the last write to its lease`,
    )
  }

  #takenUp(stream: string, shardId: string): void {
    const key = shardKeyOf(stream, shardId)
    this.#lives.get(key)?.close()
    this.#lives.delete(key)
    for (const stored of this.#histories.keys()) {
      if (stored.shard.shardId === shardId && this.#options.streams.of(stream).stored.shard(shardId) === stored.shard) {
        this.#histories.delete(stored)
      }
    }
  }

  #find(place: {
    readonly stream: string
    readonly shardId: string
    readonly sequenceNumber: string
    readonly subSequenceNumber: number
  }): StoredUserRecord {
    const stored = this.#options.streams.of(place.stream).witness.storedAt(place)
    if (stored === undefined)
      throw new Error(`nothing is stored at ${place.shardId} ${place.sequenceNumber}:${place.subSequenceNumber}`)
    return stored
  }

  #pass(stored: StoredUserRecord, stream: string): void {
    this.#options.streams.of(stream).witness.givenUp(stored)
    this.lifeOf({ stream, shardId: stored.shard.shardId }).pass(stored)
    this.#histories.delete(stored)
  }

  #stopped(event: Extract<ConsumerEvent, { type: 'shardStopped' }>): void {
    const { process, processing } = this.#options
    const { stream, shardId, sequenceNumber, subSequenceNumber, attempts, retryInMs } = event
    const life = this.lifeOf(event)
    life.stop(retryInMs ?? Number.POSITIVE_INFINITY)
    if (sequenceNumber === undefined || subSequenceNumber === undefined) {
      if (life.failedEnds < (processing?.maxAttempts ?? MAX_ATTEMPTS)) {
        this.#object('given up when due', `${shardId} stops at its end after ${life.failedEnds} attempts (${attempts})`)
      }
      return
    }
    this.#checkGivenUp(this.#find({ stream, shardId, sequenceNumber, subSequenceNumber }), 'stop', attempts)
    if (retryInMs !== undefined && !(retryInMs >= 0 && retryInMs <= 10 * (processing?.stoppedRetryMs ?? 60_000))) {
      this.#object('giving up is told', `${process.name} tries ${shardId} again after ${retryInMs} ms`)
    }
  }

  #abandoned(stored: StoredUserRecord): void {
    this.#historyOf(stored).isAbandoned = true
    if (this.#options.processing?.handlerTimeoutMs !== undefined) return
    this.#object('handlers time out', `a handler of ${stored.text} is abandoned, and may take as long as it likes`)
  }

  #checkValues(records: readonly ConsumerRecord<unknown>[]): void {
    for (const { data, value } of records) {
      if (value !== textOf(data))
        this.#object('nothing is invented', `the value of ${textOf(data)} is ${String(value)}`)
    }
  }

  #checkBatch(records: readonly ConsumerRecord<unknown>[]): void {
    const { shape = 'eachRecord', batch } = this.#options.processing ?? {}
    const { maxRecords = 500, maxBytes = 2 ** 20 } = batch ?? {}
    const bytes = records.reduce((sum, { data }) => sum + data.byteLength, 0)
    const shards = new Set(records.map(({ stream, shardId }) => shardKeyOf(stream, shardId)))
    const isWithin = records.length <= maxRecords && (bytes <= maxBytes || records.length === 1) && shards.size === 1
    if (shape !== 'eachBatch' || isWithin) return
    this.#object(
      'batches within bounds',
      `a batch has ${records.length} records of ${bytes} bytes of ${[...shards].join(', ')}`,
    )
  }

  #checkAttempt(records: readonly StoredUserRecord[], attempt: number): void {
    const { processing, policy } = this.#options
    const [record] = records
    if (
      record === undefined ||
      records.length > 1 ||
      processing?.shape === 'eachBatch' ||
      this.#misfits.has(record.text)
    )
      return
    const { attempts, isAbandoned } = this.#histories.get(record) ?? { attempts: 0, isAbandoned: false }
    // An attempt that was abandoned counts, and may come to its end at any time, or never.
    if (attempt !== attempts + 1 && !isAbandoned) {
      this.#object('attempts are counted', `attempt ${attempt} with ${record.text} after ${attempts} that have failed`)
    }
    if (policy !== 'stop' && attempt > (processing?.maxAttempts ?? MAX_ATTEMPTS)) {
      this.#object('attempts are counted', `attempt ${attempt} with ${record.text}, which is one too many`)
    }
  }

  #checkTimeout([record]: readonly StoredUserRecord[], signal: AbortSignal, calledMs: number): void {
    const { process, processing } = this.#options
    const mostMs = processing?.handlerTimeoutMs
    const tookMs = process.monotonicMs() - calledMs
    if (processing?.shape === 'records') return
    if (isTimeout(signal)) {
      this.#options.note('timed out')
      if (mostMs !== undefined && tookMs >= mostMs - EARLY_MS) return
      this.#object(
        'handlers time out',
        `the handler of ${record?.text} is told to give up after ${tookMs.toFixed(0)} ms`,
      )
    } else if (mostMs !== undefined && !signal.aborted && tookMs > mostMs + LATE_MS) {
      // Nothing came in while its process stood still.
      if (process.lastPausedMs > this.#options.nowMs() - tookMs) return
      this.#object(
        'handlers time out',
        `the handler of ${record?.text} took ${tookMs.toFixed(0)} ms and wasn't told to give up`,
      )
    }
  }

  /** What was told to give up since its shard stops, or goes elsewhere, has not failed. */
  #noteFailure(records: readonly StoredUserRecord[], signal: AbortSignal): void {
    if (signal.aborted && !isTimeout(signal)) return
    for (const record of records) {
      const history = this.#historyOf(record)
      if (records.length === 1) history.attempts++
    }
  }

  #historyOf(record: StoredUserRecord): History {
    let history = this.#histories.get(record)
    if (history === undefined) {
      history = { attempts: 0, firstFailedMs: this.#options.process.monotonicMs(), isAbandoned: false }
      this.#histories.set(record, history)
    }
    return history
  }

  #checkGivenUp(stored: StoredUserRecord, how: Policy, attempts: number): void {
    const { policy, processing, process } = this.#options
    if (how !== policy) this.#object('given up when due', `${stored.text} meets ${how}, and the policy is ${policy}`)
    if (stored.isDamaged || this.#misfits.has(stored.text)) return
    const { maxAttempts = MAX_ATTEMPTS, maxAgeMs = Number.POSITIVE_INFINITY, shape } = processing ?? {}
    const history = this.#histories.get(stored)
    const ageMs = history === undefined ? 0 : process.monotonicMs() - history.firstFailedMs
    const failed = history?.attempts ?? 0
    if (failed < maxAttempts && ageMs < maxAgeMs - 1 && !history?.isAbandoned) {
      this.#object(
        'given up when due',
        `${stored.text} meets ${how} after ${failed} attempts and ${ageMs.toFixed(0)} ms`,
      )
    }
    if (shape !== 'eachBatch' && !history?.isAbandoned && attempts !== failed) {
      this.#object(
        'giving up is told',
        `${stored.text} meets ${how} after ${failed} attempts, and ${attempts} are told`,
      )
    }
  }

  #object(invariant: Invariant, message: string): void {
    this.#options.report(new Violation(invariant, `${this.#options.process.name}: ${message}`))
  }
}

/** How long a worker waits for handlers when it closes. */
export function closeTimeoutOf({ closeTimeout = CLOSE_MS }: WorkerPlan): number {
  return closeTimeout
}

function isTimeout({ aborted, reason }: AbortSignal): boolean {
  return aborted && (reason as ConsumerError).code === 'ERR_HANDLER_TIMEOUT'
}

function keyOf({ stream, shardId }: { readonly stream: string; readonly shardId: string }): string {
  return shardKeyOf(stream, shardId)
}
