import { setTimeout } from 'node:timers/promises'
import { DynamoDBClient, GetItemCommand, ListTablesCommand } from '@aws-sdk/client-dynamodb'
import { PutRecordsCommand } from '@aws-sdk/client-kinesis'
import { createKinesisClient, listShards } from '@shardwise/core'
import { type Local, startLocal } from '@shardwise/local'
import { Deliveries } from './deliveries.ts'
import { APPLICATION, type News, type Requests, STREAM, type WorkerConfig } from './messages.ts'
import { nowMs } from './now.ts'
import { WorkerProcess } from './worker-process.ts'

export interface ApplicationOptions {
  readonly shards: number
  /** Whether what workers tell of themselves is written to standard error. */
  readonly trace: boolean
  /** Of the workers, where not the defaults. */
  readonly workerOptions?: WorkerConfig['options']
}

/** For so long nothing must move until the fleet counts as being at rest. */
const AT_REST_MS = 3_000
const HEARTBEAT_POLL_MS = 20
const PROBE_INTERVAL_MS = 100

/** A stream and a table on servers of their own, worker processes, and what these have handled. */
export class Application implements AsyncDisposable {
  readonly deliveries = new Deliveries()
  readonly #options: ApplicationOptions
  readonly #local: Local
  readonly #kinesis: ReturnType<typeof createKinesisClient>
  readonly #dynamodb: DynamoDBClient
  readonly #hashKeys: readonly string[]
  readonly #workers = new Set<WorkerProcess>()
  readonly #bornAtMs = nowMs()
  readonly #probing: Promise<void>
  readonly #answers: { readonly atMs: number; readonly tookMs: number }[] = []
  #isOver = false
  #writing: Promise<void> = Promise.resolve()
  #writeIntervalMs: number | undefined
  #written = 0
  #booted = 0

  static async start(options: ApplicationOptions): Promise<Application> {
    const local = await startLocal({ streams: { [STREAM]: options.shards }, limits: false })
    const kinesis = createKinesisClient(local.kinesis)
    const shards = await listShards(kinesis, STREAM)
    return new Application(
      options,
      local,
      kinesis,
      shards.map(({ hashRange }) => String(hashRange.start)),
    )
  }

  private constructor(
    options: ApplicationOptions,
    local: Local,
    kinesis: ReturnType<typeof createKinesisClient>,
    hashKeys: readonly string[],
  ) {
    this.#options = options
    this.#local = local
    this.#kinesis = kinesis
    this.#dynamodb = new DynamoDBClient(local.dynamodb)
    this.#hashKeys = hashKeys
    this.#probing = this.#probe()
  }

  get workers(): readonly WorkerProcess[] {
    return [...this.#workers]
  }

  /** Puts a record into every shard, again and again. */
  write(intervalMs: number): void {
    this.#writeIntervalMs = intervalMs
    this.#writing = this.#write(intervalMs)
  }

  async stopWriting(): Promise<void> {
    this.#writeIntervalMs = undefined
    await this.#writing
  }

  /** Boots a worker process, which doesn't run yet. */
  async boot(): Promise<WorkerProcess> {
    const config: WorkerConfig = {
      workerId: `worker-${++this.#booted}`,
      kinesis: this.#local.kinesis,
      dynamodb: this.#local.dynamodb,
      options: this.#options.workerOptions ?? {},
    }
    const worker = await WorkerProcess.boot(config, (news, workerId) => this.#take(news, workerId))
    this.#workers.add(worker)
    return worker
  }

  /** Workers that share all shards and have done so for a while. */
  async startWorkers(count: number): Promise<readonly WorkerProcess[]> {
    const workers = await Promise.all(Array.from({ length: count }, () => this.boot()))
    for (const worker of workers) worker.run()
    await this.atRest(count)
    return workers
  }

  /** Waits until all shards are read, shared evenly, and nothing moves any more. Resolves to when that began. */
  async atRest(workers: number): Promise<number> {
    const { deliveries } = this
    const { shards } = this.#options
    await deliveries.until(`${shards} shards shared evenly by ${workers} workers`, () => {
      const counts = deliveries.counts()
      const isEven = counts.length === workers && Math.max(...counts) - Math.min(...counts) <= 1
      const all = counts.reduce((sum, count) => sum + count, 0)
      return isEven && all === shards && nowMs() - deliveries.lastMoveAtMs > AT_REST_MS
    })
    return deliveries.lastMoveAtMs
  }

  /** Resolves when the leader has just shown that it lives. */
  async leaderHeartbeat(): Promise<void> {
    const before = await this.#leaderVersion()
    while ((await this.#leaderVersion()) === before) await setTimeout(HEARTBEAT_POLL_MS)
  }

  async close(worker: WorkerProcess): Promise<void> {
    this.#trace(worker.workerId, 'is told to close', nowMs())
    await worker.close()
    this.#trace(worker.workerId, 'has ended', nowMs())
    this.#workers.delete(worker)
  }

  async kill(worker: WorkerProcess): Promise<void> {
    this.#trace(worker.workerId, 'is killed', nowMs())
    this.#workers.delete(worker)
    await worker.kill()
  }

  /** All workers' requests to DynamoDB so far. */
  async requests(): Promise<Requests> {
    const sum: Record<string, number> = {}
    for (const counts of await Promise.all(this.workers.map((worker) => worker.requests()))) {
      for (const [operation, count] of Object.entries(counts)) sum[operation] = (sum[operation] ?? 0) + count
    }
    return sum
  }

  /** The longest that the local DynamoDB took for an answer, in seconds: a machine with too much to do shows there. */
  slowestAnswerS(since: number): number {
    return Math.max(...this.#answers.filter(({ atMs }) => atMs > since).map(({ tookMs }) => tookMs)) / 1_000
  }

  /** @throws {Error} if a record that was put isn't delivered */
  async checkNothingLost(): Promise<void> {
    await this.stopWriting()
    const { deliveries } = this
    await deliveries.until(`${this.#written} records, all that were put`, () => deliveries.distinct === this.#written)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true
    await Promise.all([this.stopWriting(), this.#probing])
    await Promise.all(this.workers.map((worker) => worker.kill()))
    this.#kinesis.destroy()
    this.#dynamodb.destroy()
    await this.#local.stop()
  }

  async #write(intervalMs: number): Promise<void> {
    for (let dueAtMs = nowMs(); this.#writeIntervalMs === intervalMs; dueAtMs += intervalMs) {
      await setTimeout(Math.max(0, dueAtMs - nowMs()))
      const Records = this.#hashKeys.map((ExplicitHashKey) => ({
        PartitionKey: 'key',
        ExplicitHashKey,
        Data: Buffer.from(String(this.#written)),
      }))
      const { FailedRecordCount = 0 } = await this.#kinesis.send(new PutRecordsCommand({ StreamName: STREAM, Records }))
      this.#written += Records.length - FailedRecordCount
    }
  }

  async #probe(): Promise<void> {
    while (!this.#isOver) {
      const sentAtMs = nowMs()
      await this.#dynamodb.send(new ListTablesCommand())
      this.#answers.push({ atMs: nowMs(), tookMs: nowMs() - sentAtMs })
      await setTimeout(PROBE_INTERVAL_MS)
    }
  }

  async #leaderVersion(): Promise<string | undefined> {
    const { Item } = await this.#dynamodb.send(
      new GetItemCommand({ TableName: APPLICATION, Key: { leaseKey: { S: 'Leader' } }, ConsistentRead: true }),
    )
    return Item?.recordVersionNumber?.S
  }

  #take(news: News, workerId: string): void {
    if (news.type === 'delivery') this.deliveries.add({ workerId, ...news })
    else if (news.type === 'event') this.#trace(workerId, news.text, news.atMs)
  }

  #trace(workerId: string, text: string, atMs: number): void {
    if (!this.#options.trace) return
    const seconds = ((atMs - this.#bornAtMs) / 1_000).toFixed(3).padStart(8)
    process.stderr.write(`${seconds} ${workerId} ${text}\n`)
  }
}
