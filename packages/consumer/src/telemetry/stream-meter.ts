import type { Attributes } from '@opentelemetry/api'
import { errorCode } from '@shardwise/core'
import { streamName } from '../streams/stream-source.ts'
import type { Instruments } from './instruments.ts'
import { APPLICATION, ERROR_TYPE, REASON, SHARD_ID, STREAM_NAME, WORKER } from './metrics.ts'
import type { StreamEvent } from './telemetry.ts'

/**
 * What is measured of a stream besides its events. Each call stands for a request, an answer or a batch, never for one user
 * record. A failure is the error of the call, or a name for it.
 */
export interface StreamMeasures {
  /** One try to write a held lease has ended; one that was refused because the item had changed, with {@link REFUSED}. */
  leaseWritten(durationMs: number, failure?: unknown): void
  /** A GetRecords was answered or has failed. */
  recordsAsked(shardId: string, durationMs: number, failure?: unknown): void
  /** A GetShardIterator was answered or has failed. */
  iteratorAsked(durationMs: number, failure?: unknown): void
  /** A SubscribeToShard was answered or has failed. */
  subscriptionAsked(durationMs: number, failure?: unknown): void
  subscriptionBegan(): void
  /** Every one that began. @param failure if it broke off */
  subscriptionEnded(failure?: unknown): void
  /** The handler has finished so many user records since the last call. */
  userRecordsHandled(shardId: string, count: number): void
  /** A call of the handler took so long; not told of every call with a single record. */
  handlerCalled(shardId: string, durationMs: number): void
  /** Everything in the answer of one GetRecords is finished, so long after it came. */
  answerHandled(shardId: string, durationMs: number): void
  /** The leader has compared the shards with the leases, or failed to. */
  shardsSynced(durationMs: number, failure?: unknown): void
  /** The leader's assignment was not written: the lease had changed. */
  assignmentRefused(): void
}

/** The name that DynamoDB gives the refusal of a conditional write. */
export const REFUSED = 'ConditionalCheckFailedException'

export interface StreamMeterOptions {
  readonly application: string
  readonly workerId: string
  /** The stream's name or ARN. */
  readonly stream: string
  readonly instruments: Instruments
}

/** More than a stream has; over the years its shards change. */
const MAX_SHARDS_REMEMBERED = 16_384

/** Counts what happens to one stream and its shards. */
export class StreamMeter implements StreamMeasures {
  readonly #to: Instruments
  readonly #ofShard = new Map<string, Attributes>()
  readonly ofStream: Attributes
  readonly ofWorker: Attributes
  #subscriptions: number | undefined

  constructor({ application, workerId, stream, instruments }: StreamMeterOptions) {
    this.#to = instruments
    // Streams of different accounts may have the same name.
    const account = stream.startsWith('arn:') ? stream.split(':')[4] : undefined
    this.ofStream = {
      [APPLICATION]: application,
      [STREAM_NAME]: streamName(stream),
      ...(account && { 'cloud.account.id': account }),
    }
    this.ofWorker = { ...this.ofStream, [WORKER]: workerId }
  }

  /** How many subscriptions are open; undefined if none ever was. */
  get subscriptions(): number | undefined {
    return this.#subscriptions
  }

  ofShard(shardId: string): Attributes {
    let attributes = this.#ofShard.get(shardId)
    if (attributes === undefined) {
      if (this.#ofShard.size >= MAX_SHARDS_REMEMBERED) this.#ofShard.clear()
      attributes = { ...this.ofStream, [SHARD_ID]: shardId }
      this.#ofShard.set(shardId, attributes)
    }
    return attributes
  }

  observe(event: StreamEvent): void {
    const to = this.#to
    switch (event.type) {
      case 'recordsRead': {
        const ofShard = this.ofShard(event.shardId)
        to.kinesisRecordsRead.add(event.kinesisRecords, ofShard)
        to.dataRead.add(event.bytes, ofShard)
        break
      }
      case 'leaseTaken':
        to.leasesTaken.add(1, this.ofWorker)
        break
      case 'leaseLost':
        to.leasesLost.add(1, this.ofWorker)
        break
      case 'leaseHandedOff':
        to.leasesHandedOff.add(1, this.ofWorker)
        break
      case 'leaseReleased':
        to.leasesReleased.add(1, this.ofWorker)
        break
      case 'shardEnded':
        to.shardsEnded.add(1, this.ofStream)
        break
      case 'leaseAssigned':
        to.leasesAssigned.add(1, { ...this.ofStream, [REASON]: event.reason })
        break
      case 'leasesCreated':
        to.leasesCreated.add(event.shardIds.length, this.ofStream)
        break
      case 'leaseDeleted':
        to.leasesDeleted.add(1, { ...this.ofStream, [REASON]: event.reason })
        break
      case 'handlerFailed':
        to.handlerFailures.add(1, this.ofShard(event.shardId))
        if (event.retryInMs !== undefined) to.handlerRetries.add(1, this.ofShard(event.shardId))
        break
      case 'handlerAbandoned':
        to.handlersAbandoned.add(1, this.ofShard(event.shardId))
        break
      case 'recordSkipped':
        to.recordsSkipped.add(1, this.ofShard(event.shardId))
        break
      case 'recordDeadLettered':
        to.deadLetters.add(1, this.ofShard(event.shardId))
        break
      case 'deadLetterFailed':
        to.deadLetterFailures.add(1, this.ofShard(event.shardId))
        break
      case 'shardStopped':
        to.shardStops.add(1, this.ofShard(event.shardId))
        break
      case 'hookFailed':
        to.hookFailures.add(1, { ...this.ofShard(event.shardId), [REASON]: event.hook })
        break
      case 'misplacedRecords':
        to.misplacedRecords.add(event.count, this.ofShard(event.shardId))
        break
      case 'undecodableRecord':
        // The same one is told of at each try.
        if (event.attempt === 1) to.undecodableRecords.add(1, this.ofShard(event.shardId))
        break
      case 'recordsExpired':
      case 'checkpointExpired':
      case 'shardGone':
        to.retentionPassed.add(1, { ...this.ofShard(event.shardId), [REASON]: event.type })
        break
    }
  }

  leaseWritten(durationMs: number, failure?: unknown): void {
    this.#to.leaseWriteTime.record(durationMs / 1_000, withError(this.ofWorker, failure))
  }

  recordsAsked(shardId: string, durationMs: number, failure?: unknown): void {
    this.#to.getRecordsTime.record(durationMs / 1_000, withError(this.ofShard(shardId), failure))
  }

  iteratorAsked(durationMs: number, failure?: unknown): void {
    this.#to.getShardIteratorTime.record(durationMs / 1_000, withError(this.ofStream, failure))
  }

  subscriptionAsked(durationMs: number, failure?: unknown): void {
    this.#to.subscribeTime.record(durationMs / 1_000, withError(this.ofStream, failure))
  }

  subscriptionBegan(): void {
    this.#subscriptions = (this.#subscriptions ?? 0) + 1
  }

  subscriptionEnded(failure?: unknown): void {
    this.#subscriptions = (this.#subscriptions ?? 1) - 1
    if (failure !== undefined) this.#to.subscriptionsBroken.add(1, withError(this.ofStream, failure))
  }

  userRecordsHandled(shardId: string, count: number): void {
    if (count > 0) this.#to.userRecordsHandled.add(count, this.ofShard(shardId))
  }

  handlerCalled(shardId: string, durationMs: number): void {
    this.#to.handlerTime.record(durationMs / 1_000, this.ofShard(shardId))
  }

  answerHandled(shardId: string, durationMs: number): void {
    this.#to.handlingTime.record(durationMs / 1_000, this.ofShard(shardId))
  }

  shardsSynced(durationMs: number, failure?: unknown): void {
    this.#to.syncTime.record(durationMs / 1_000, withError(this.ofStream, failure))
  }

  assignmentRefused(): void {
    this.#to.assignmentsRefused.add(1, this.ofStream)
  }
}

/** The attributes of a call that has failed; the same attributes if it hasn't. */
export function withError(attributes: Attributes, failure: unknown): Attributes {
  if (failure === undefined) return attributes
  return { ...attributes, [ERROR_TYPE]: typeof failure === 'string' ? failure : errorCode(failure) }
}
