import type { Logger } from '@shardwise/core'
import type { Position } from '@shardwise/records'
import type { ConsumerMeter } from './consumer-meter.ts'
import type { StreamMeasures } from './stream-meter.ts'

/** Everything the consumer tells of itself, through `onEvent`. */
export type ConsumerEvent = FleetEvent | (StreamEvent & { readonly stream: string })

/** What concerns the worker, or the application as a whole. */
export type FleetEvent =
  /** This worker leads from now on, or no longer. KCL: IsLeader. */
  | { readonly type: 'leaderChanged'; readonly leader: boolean }
  /** Who takes part, as the leader sees it from now on. KCL: NumWorkers. */
  | { readonly type: 'workersChanged'; readonly workers: readonly string[] }
  /** The application's table didn't exist and was created. */
  | { readonly type: 'tableCreated'; readonly table: string }
  /**
   * The table is that of a KCL that ours can't run beside (`state`): its leases are watched. When they have stood still for
   * longer than its workers would leave them, the application is taken over.
   */
  | {
      readonly type: 'tableWatched'
      readonly table: string
      readonly state: string
      /** For how long they must stand still. */
      readonly standstillMs: number
    }
  /** An application of such a KCL was taken over: none of its workers runs any more. */
  | { readonly type: 'tableTakenOver'; readonly table: string; readonly state: string }
  /** A call for the leases, the list of shards or the registered consumer failed and is tried again. */
  | { readonly type: 'callFailed'; readonly doing: string; readonly error: unknown }
  /** An item of the table that is no lease of this application's streams: left alone. KCL: LeaseDeserializationFailureCount. */
  | { readonly type: 'itemSkipped'; readonly leaseKey: string; readonly reason: string }
  /**
   * Nothing else could run in the process for `blockedMs`, more than a tenth of `failoverTime`: most often a handler that computes; or
   * the process was suspended. Names the handler, and the record that it was called with last. After more than `failoverTime` the
   * leases are lost.
   */
  | {
      readonly type: 'eventLoopBlocked'
      readonly blockedMs: number
      /** `eachRecord` or `eachBatch`, and the function's own name. */
      readonly handler: string
      /** Undefined, and what follows, if the handler was called for nothing yet. */
      readonly shardId: string | undefined
      readonly partitionKey: string | undefined
      readonly sequenceNumber: string | undefined
      readonly subSequenceNumber: number | undefined
    }

/** What concerns a stream or one of its shards. `stream` is the name or ARN that the consumer was given, or found. */
export type StreamEvent =
  /** The application reads the stream from now on. Only where it may have several. */
  | { readonly type: 'streamAdded'; readonly identifier: string }
  /**
   * The application no longer reads the stream: it isn't among its streams any more, or was deleted. Its leases are given up, and
   * deleted after a while.
   */
  | { readonly type: 'streamRemoved'; readonly identifier: string; readonly reason: string }
  /** One of the application's several streams doesn't exist; it is looked for again. */
  | { readonly type: 'streamMissing'; readonly error: unknown }
  /** This worker holds a lease from now on. */
  | { readonly type: 'leaseTaken'; readonly shardId: string; readonly checkpoint: Position }
  /** A lease was taken away or could not be renewed in time; its handlers are aborted. KCL: LostLeases. */
  | { readonly type: 'leaseLost'; readonly shardId: string; readonly reason: string }
  /** The consumer stops and has given the lease back, or passed it on to `to`. */
  | {
      readonly type: 'leaseReleased'
      readonly shardId: string
      readonly to: string | undefined
      readonly checkpoint: Position
    }
  /** The leader wants the lease handed to another worker: what is in hand is finished first. */
  | { readonly type: 'handoffStarted'; readonly shardId: string; readonly to: string }
  /** The lease went to another live worker, without a gap or an overlap. */
  | {
      readonly type: 'leaseHandedOff'
      readonly shardId: string
      readonly to: string | undefined
      readonly checkpoint: Position
    }
  /** Reading begins: the lease is held and every parent is finished. */
  | { readonly type: 'shardStarted'; readonly shardId: string; readonly checkpoint: Position }
  /** Every record of the shard is finished, and its children have leases. */
  | { readonly type: 'shardEnded'; readonly shardId: string; readonly childShardIds: readonly string[] }
  /** The shard is no longer in the stream: what had not been read of it has expired. */
  | { readonly type: 'shardGone'; readonly shardId: string }
  /**
   * The shard was read so late that records behind `after`, the last one known, may have expired unread; undefined if none
   * was. They can't be had any more. Told at most once a minute and shard.
   */
  | { readonly type: 'recordsExpired'; readonly shardId: string; readonly after: string | undefined }
  /**
   * The shard is taken up, and the record at its checkpoint has expired. Whatever came and expired since is lost; if nothing
   * came, nothing is: the service doesn't tell.
   */
  | {
      readonly type: 'checkpointExpired'
      readonly shardId: string
      readonly checkpoint: string | undefined
      /** The first record that is still there; undefined if there is none. */
      readonly found: string | undefined
    }
  /** Leases were created: by the leader, or for the children of a shard by who has read it to its end. KCL: SyncShards, CreateLease. */
  | { readonly type: 'leasesCreated'; readonly shardIds: readonly string[] }
  /** The leader has written the hash range, or the parents, that a lease lacked. */
  | { readonly type: 'leaseRepaired'; readonly shardId: string }
  /**
   * The leader has deleted a lease: its shard is finished and its children are being read, or it isn't in the stream any more
   * and nothing of it can be read, or the stream is none of the application's any more.
   */
  | { readonly type: 'leaseDeleted'; readonly shardId: string; readonly reason: 'finished' | 'gone' | 'removed' }
  /**
   * The leader gives a lease to a worker, since nobody has it (`unowned`), its holder has not renewed it (`expired`), the worker
   * that had to hand it off didn't (`stuck`); or asks its holder to hand it off (`balance`). KCL: NumOfLeasesReassignment,
   * ExpiredLeases.
   */
  | {
      readonly type: 'leaseAssigned'
      readonly shardId: string
      readonly from: string | undefined
      readonly to: string
      readonly reason: 'unowned' | 'expired' | 'stuck' | 'balance'
    }
  /**
   * A worker was given a lease and didn't take it up: it gave it back, or let it expire. The leader gives it nothing more for
   * `againInMs`, longer each time, until it takes up one.
   */
  | {
      readonly type: 'leaseNotTakenUp'
      readonly shardId: string
      readonly to: string
      readonly againInMs: number
    }
  /** A handler threw or rejected, or a record's value couldn't be decoded. Of a batch, its first record. */
  | {
      readonly type: 'handlerFailed'
      readonly shardId: string
      readonly partitionKey: string
      readonly sequenceNumber: string
      readonly subSequenceNumber: number
      /** Of how many records a batch was; 1 for a record alone. */
      readonly records: number
      readonly attempt: number
      /** Until it comes again; undefined if it doesn't, and `failurePolicy` decides. */
      readonly retryInMs: number | undefined
      readonly error: unknown
    }
  /** A handler didn't settle within `closeTimeout` after `handlerTimeoutMs`: it has failed for good, and runs on unheeded. */
  | {
      readonly type: 'handlerAbandoned'
      readonly shardId: string
      readonly partitionKey: string
      readonly sequenceNumber: string
      readonly subSequenceNumber: number
      readonly attempt: number
      readonly afterMs: number
    }
  /** An aggregate that is damaged inside: `failurePolicy` decides. */
  | {
      readonly type: 'undecodableRecord'
      readonly shardId: string
      readonly sequenceNumber: string
      readonly reason: string
      readonly attempt: number
    }
  /**
   * The shard has stopped at a record that failed for good, or can't be decoded: its lease is kept, its memory freed, and it is tried
   * again after `retryInMs`. Told at each try.
   */
  | {
      readonly type: 'shardStopped'
      readonly shardId: string
      /** The record; undefined where the hook `onShardEnd` failed. */
      readonly partitionKey: string | undefined
      readonly sequenceNumber: string | undefined
      readonly subSequenceNumber: number | undefined
      readonly attempts: number
      /** Undefined where it isn't tried again here: the consumer ends, or the lease is being given up. */
      readonly retryInMs: number | undefined
      readonly error: unknown
    }
  /** A stopped shard is read and handled again, from `checkpoint` on. */
  | { readonly type: 'shardResumed'; readonly shardId: string; readonly checkpoint: Position }
  /** A record failed for good, or can't be decoded, and was passed over, as `failurePolicy: 'skip'` asks for. */
  | {
      readonly type: 'recordSkipped'
      readonly shardId: string
      readonly partitionKey: string
      readonly sequenceNumber: string
      readonly subSequenceNumber: number
      readonly attempts: number
      readonly error: unknown
    }
  /** A record failed for good, or can't be decoded, and `deadLetter` has taken it. */
  | {
      readonly type: 'recordDeadLettered'
      readonly shardId: string
      readonly partitionKey: string
      readonly sequenceNumber: string
      readonly subSequenceNumber: number
      readonly attempts: number
      readonly error: unknown
    }
  /** `deadLetter` failed: the record waits, and it is tried again after `retryInMs`. */
  | {
      readonly type: 'deadLetterFailed'
      readonly shardId: string
      readonly partitionKey: string
      readonly sequenceNumber: string
      readonly subSequenceNumber: number
      readonly attempt: number
      readonly retryInMs: number
      readonly error: unknown
    }
  /** A hook of `run` failed: `onShardStart`, `onShardEnd`, `onShardRelease` or `onLeaseLost`. */
  | {
      readonly type: 'hookFailed'
      readonly shardId: string
      readonly hook: string
      readonly attempt: number
      /** Until it is tried again; undefined if it isn't. */
      readonly retryInMs: number | undefined
      readonly error: unknown
    }
  /** `reset()` has moved the lease of the shard to where reading is to start again. */
  | { readonly type: 'leaseReset'; readonly shardId: string; readonly checkpoint: Position }
  /** User records whose hash key lies outside their shard's range, out of one Kinesis record. */
  | {
      readonly type: 'misplacedRecords'
      readonly shardId: string
      readonly sequenceNumber: string
      readonly count: number
      readonly dropped: boolean
    }
  /** What one GetRecords, or one event of a subscription, brought. KCL: RecordsProcessed, DataBytesProcessed, MillisBehindLatest. */
  | {
      readonly type: 'recordsRead'
      readonly shardId: string
      readonly kinesisRecords: number
      readonly bytes: number
      readonly millisBehindLatest: number
    }
  /**
   * How far the reading and handling of a held shard has come: at each renewal of its lease. Goes to no log. KCL:
   * MillisBehindLatest.
   */
  | {
      readonly type: 'shardProgress'
      readonly shardId: string
      readonly checkpoint: Position
      /** As of the last read; undefined before the first. */
      readonly millisBehindLatest: number | undefined
      /** Kinesis records of which anything is unfinished. */
      readonly bufferedRecords: number
      readonly bufferedBytes: number
      /** For how long the record that holds the checkpoint back has been in hand; undefined if nothing is. */
      readonly oldestUnfinishedMs: number | undefined
    }
  /** A registered consumer was created for fan-out. It stays until it is deregistered, and is billed for. */
  | { readonly type: 'consumerRegistered'; readonly consumerName: string; readonly consumerArn: string }
  /** The registered consumer that fan-out subscribes with was deleted. By name, it is registered anew. */
  | { readonly type: 'consumerGone'; readonly consumerArn: string }
  /**
   * A call to Kinesis failed, or a subscription broke off, and is tried again. Told once a minute for each shard and kind of error.
   * Of subscriptions, a failure that stays alone for a minute isn't told; nor are GetRecords that are throttled, unless the shard
   * has got no answer for 10 s.
   */
  | {
      readonly type: 'readFailed'
      readonly shardId: string
      /** How many of this kind there were since one was told, with this one. */
      readonly failures: number
      readonly retryInMs: number
      readonly error: unknown
    }

/** Tells what happens to one stream and its shards. */
export interface StreamTelemetry {
  emit(event: StreamEvent): void
  /** For what is measured besides; undefined where nothing is. */
  readonly measures?: StreamMeasures | undefined
}

/** Tells events to the listener, the metrics and, the notable ones, the log. */
export class Telemetry {
  readonly #logger: Logger
  readonly #listener: ((event: ConsumerEvent) => void) | undefined
  readonly #base: object
  readonly meter: ConsumerMeter | undefined

  constructor(
    logger: Logger,
    listener: ((event: ConsumerEvent) => void) | undefined,
    base: object,
    meter?: ConsumerMeter | undefined,
  ) {
    this.meter = meter
    this.#logger = logger
    this.#listener = listener
    this.#base = base
  }

  /** @param stream its name or ARN */
  of(stream: string): StreamTelemetry {
    return { emit: (event) => this.emit({ ...event, stream }), measures: this.meter?.of(stream) }
  }

  emit(event: ConsumerEvent): void {
    this.meter?.observe(event)
    if (event.type !== 'recordsRead' && event.type !== 'shardProgress') this.#log(event)
    try {
      this.#listener?.(event)
    } catch (error) {
      this.#logger.error({ ...this.#base, err: error, event: event.type }, 'onEvent threw; the consumer goes on')
    }
  }

  #log(event: Exclude<ConsumerEvent, { type: 'recordsRead' | 'shardProgress' }>): void {
    const level = LEVELS[event.type] ?? 'info'
    const { error, ...rest } = { error: undefined, ...event }
    this.#logger[level](
      { ...this.#base, ...rest, ...(error !== undefined && { err: error }) },
      MESSAGES[event.type] ?? event.type,
    )
  }
}

const LEVELS: Partial<Record<ConsumerEvent['type'], 'warn' | 'error'>> = {
  leaseLost: 'warn',
  leaseNotTakenUp: 'warn',
  shardGone: 'error',
  recordsExpired: 'error',
  checkpointExpired: 'error',
  handlerFailed: 'error',
  handlerAbandoned: 'error',
  undecodableRecord: 'error',
  shardStopped: 'error',
  recordSkipped: 'error',
  recordDeadLettered: 'warn',
  deadLetterFailed: 'error',
  hookFailed: 'error',
  eventLoopBlocked: 'warn',
  misplacedRecords: 'warn',
  consumerGone: 'warn',
  readFailed: 'warn',
  callFailed: 'warn',
  itemSkipped: 'warn',
  streamMissing: 'warn',
  streamRemoved: 'warn',
  tableWatched: 'warn',
  tableTakenOver: 'warn',
}

const MESSAGES: Partial<Record<ConsumerEvent['type'], string>> = {
  tableWatched:
    'the table is of a KCL that this worker can not run beside: its leases are watched, and taken over once they stand still',
  tableTakenOver: 'the leases of the old application stood still: it is taken over',
  streamMissing: 'there is no such stream; it is looked for again, and the others are read',
  streamRemoved: 'the stream is read no longer, and its leases are given up',
  leaseLost: 'lease lost: its handlers are aborted, nothing more is written for it',
  leaseNotTakenUp: 'a worker did not take up a lease that it was given: it gets no others for a while',
  shardGone: 'the shard is no longer in the stream: records of it that were not read have expired',
  recordsExpired:
    'records of the shard may have expired before they were read: raise the retention of the stream, or add workers so that it is read in time',
  checkpointExpired:
    'the record at the checkpoint has expired: if records came since and expired too, they were not read; raise the retention of the stream if its workers may be away for so long',
  handlerFailed: 'the handler failed',
  handlerAbandoned: 'the handler goes on after its signal was aborted: its record has failed for good',
  undecodableRecord: 'a damaged aggregate: nothing of what it holds can be handled',
  shardStopped: 'the shard has stopped at a record that failed for good; its lease is kept and nothing is skipped',
  shardResumed: 'the stopped shard is read again',
  recordSkipped: 'a record that failed for good was skipped',
  recordDeadLettered: 'a record that failed for good went to the dead letters',
  deadLetterFailed: 'the dead letter could not be delivered; it is tried again, and the record waits',
  hookFailed: 'a hook failed',
  eventLoopBlocked: 'the event loop was blocked: do what computes for long in a worker thread, or leases will be lost',
  misplacedRecords: 'user records outside their shard, left over from a reshard',
  consumerRegistered: 'a consumer was registered for fan-out; it is billed for until it is deregistered',
  consumerGone: 'the registered consumer was deleted; if it is used by name, it is registered anew',
  readFailed: 'reading from Kinesis failed; trying again',
  callFailed: 'a call failed; trying again',
  itemSkipped: 'an item of the table is no lease of this stream; left alone',
}
