import { type Attributes, type BatchObservableResult, type MeterProvider, metrics } from '@opentelemetry/api'
import { createInstruments, type Instruments, LEVELS, type LevelKey } from './instruments.ts'
import { APPLICATION, METRICS, WORKER } from './metrics.ts'
import { StreamMeter, withError } from './stream-meter.ts'
import type { ConsumerEvent } from './telemetry.ts'

/** Under this name the meter is known. */
const SCOPE = '@shardwise/consumer'

/** A lease that this worker holds. */
export interface ObservedShard {
  /** The stream's name or ARN. */
  readonly stream: string
  readonly shardId: string
  readonly millisBehindLatest: number | undefined
  readonly bufferedRecords: number
  readonly bufferedBytes: number
  readonly oldestUnfinishedMs: number | undefined
  /** Set while the shard has stopped, or is tried again since. */
  readonly stopped: object | undefined
}

/** A lease of the application. */
interface ObservedLease {
  readonly holder: string | undefined
  readonly finished: boolean
}

/** What is read off when metrics are collected. */
export interface Observed {
  readonly leader: boolean
  /** The streams that the application reads. */
  readonly streams: readonly unknown[]
  /** What this worker holds. */
  readonly shards: readonly ObservedShard[]
  /** Every lease of the application; only the leader's count. */
  readonly leases: readonly ObservedLease[]
}

export interface ConsumerMeterOptions {
  readonly application: string
  readonly workerId: string
  /** Is asked when metrics are collected. */
  readonly status: () => Observed
  /** Default: the global one, which has to be there when the meter is made. */
  readonly meterProvider?: MeterProvider | undefined
}

interface Level {
  readonly key: LevelKey
  readonly attributes: Attributes
  readonly value: number
}

/**
 * The metrics of one consumer, by the OpenTelemetry API: counts its events, and reads levels off its status when they are
 * collected. Where the program set up no SDK, nothing is kept and the calls cost some nanoseconds.
 */
export class ConsumerMeter {
  readonly #application: string
  readonly #workerId: string
  readonly #instruments: Instruments
  readonly #ofApplication: Attributes
  readonly #ofWorker: Attributes
  readonly #streams = new Map<string, StreamMeter>()
  #status: (() => Observed) | undefined
  #workers = 0
  /** What was observed at the last collection. */
  #levels = new Map<string, Level>()

  constructor({ application, workerId, status, meterProvider = metrics.getMeterProvider() }: ConsumerMeterOptions) {
    const meter = meterProvider.getMeter(SCOPE)
    this.#application = application
    this.#workerId = workerId
    this.#status = status
    this.#ofApplication = { [APPLICATION]: application }
    this.#ofWorker = { ...this.#ofApplication, [WORKER]: workerId }
    this.#instruments = createInstruments(meter)
    const observables = LEVELS.map((key) => this.#instruments[key])
    const onCollect = async (result: BatchObservableResult): Promise<void> => {
      const isLast = this.#status === undefined
      this.#collect(result)
      if (!isLast) return
      // Not before all callbacks were called: the SDK is going through them.
      await Promise.resolve()
      meter.removeBatchObservableCallback(onCollect, observables)
    }
    meter.addBatchObservableCallback(onCollect, observables)
  }

  /** Counts what happens to a stream. @param stream its name or ARN */
  of(stream: string): StreamMeter {
    let meter = this.#streams.get(stream)
    if (meter === undefined) {
      const [application, workerId, instruments] = [this.#application, this.#workerId, this.#instruments]
      meter = new StreamMeter({ application, workerId, stream, instruments })
      this.#streams.set(stream, meter)
    }
    return meter
  }

  observe(event: ConsumerEvent): void {
    if ('stream' in event) {
      this.of(event.stream).observe(event)
      return
    }
    const to = this.#instruments
    if (event.type === 'workersChanged') this.#workers = event.workers.length
    else if (event.type === 'itemSkipped') to.itemsSkipped.add(1, this.#ofApplication)
    else if (event.type === 'eventLoopBlocked') to.eventLoopBlockedTime.record(event.blockedMs / 1_000, this.#ofWorker)
    else if (event.type === 'callFailed') to.callsFailed.add(1, withError(this.#ofWorker, event.error))
  }

  /** The leader has done a round, or failed in it. */
  led(durationMs: number, failure?: unknown): void {
    this.#instruments.leaderRoundTime.record(durationMs / 1_000, withError(this.#ofApplication, failure))
  }

  /** The consumer is over. Everything is observed once more, as 0, and the status is asked no more. */
  close(): void {
    this.#status = undefined
    this.#streams.clear()
  }

  #collect(result: BatchObservableResult): void {
    const levels = new Map<string, Level>()
    if (this.#status !== undefined) {
      for (const level of this.#levelsOf(this.#status())) {
        const id = `${level.key} ${Object.values(level.attributes).join(' ')}`
        levels.set(id, { ...level, value: together(level, levels.get(id)?.value) })
      }
    }
    // SDKs go on exporting the last they saw of what is no longer observed.
    for (const [id, level] of this.#levels) {
      if (!levels.has(id)) result.observe(this.#instruments[level.key], 0, level.attributes)
    }
    for (const { key, attributes, value } of levels.values()) {
      result.observe(this.#instruments[key], value, attributes)
    }
    this.#levels = levels
  }

  *#levelsOf({ leader, streams, shards, leases }: Observed): Generator<Level> {
    const [ofApplication, ofWorker] = [this.#ofApplication, this.#ofWorker]
    yield { key: 'leader', attributes: ofWorker, value: Number(leader) }
    if (leader) {
      const unheld = leases.filter(({ finished, holder }) => !finished && holder === undefined)
      yield { key: 'workers', attributes: ofApplication, value: this.#workers }
      yield { key: 'streams', attributes: ofApplication, value: streams.length }
      yield { key: 'leases', attributes: ofApplication, value: leases.length }
      yield { key: 'leasesUnheld', attributes: ofApplication, value: unheld.length }
    }
    for (const { subscriptions, ofWorker: attributes } of this.#streams.values()) {
      if (subscriptions !== undefined) yield { key: 'subscriptions', attributes, value: subscriptions }
    }
    for (const { stream, shardId, ...shard } of shards) {
      const meter = this.of(stream)
      const attributes = meter.ofShard(shardId)
      yield { key: 'leasesHeld', attributes: meter.ofWorker, value: 1 }
      yield { key: 'shardsStopped', attributes: meter.ofWorker, value: Number(shard.stopped !== undefined) }
      yield { key: 'bufferedRecords', attributes, value: shard.bufferedRecords }
      yield { key: 'bufferedData', attributes, value: shard.bufferedBytes }
      yield { key: 'oldestUnfinishedTime', attributes, value: (shard.oldestUnfinishedMs ?? 0) / 1_000 }
      if (shard.millisBehindLatest !== undefined) {
        yield { key: 'timeBehindLatest', attributes, value: shard.millisBehindLatest / 1_000 }
      }
    }
  }
}

/** Of what has the same attributes: counts add up, of times and states the greatest counts. */
function together({ key, value }: Level, other: number | undefined): number {
  if (other === undefined) return value
  return METRICS[key].kind === 'gauge' ? Math.max(value, other) : value + other
}
