/** The worker thread that both servers run in, so that they and their client don't take turns on one thread. */
import { parentPort, workerData } from 'node:worker_threads'
import type { FaultHandle } from './faults.ts'
import { KinesisModel } from './kinesis-model.ts'
import { startKinesisServer } from './kinesis-server.ts'
import type { ServerSettings, Started, ThreadCall, ThreadCalls } from './local-thread.ts'
import { seededRandom } from './seeded-random.ts'
import { ManualServerClock, realClock } from './server-clock.ts'

const { streams, clock: mode, tls, dynamodb: withDynamoDB, seed, ...settings } = workerData as ServerSettings
const manualClock = mode === 'manual' ? new ManualServerClock(Date.now()) : undefined
const clock = manualClock ?? realClock

const model = new KinesisModel({ ...settings, clock, random: seededRandom(seed) })
for (const [name, shardCount] of Object.entries(streams)) model.addStream(name, shardCount)
// What isn't asked for isn't loaded either: each of the two takes a tenth of a second.
const certificate = tls ? await (await import('./certificate.ts')).makeCertificate(Date.now()) : undefined
const kinesis = await startKinesisServer({
  model,
  clock,
  port: settings.kinesisPort,
  tls: certificate && { port: settings.kinesisTlsPort, certificate },
})
const dynamodb = withDynamoDB
  ? await (await import('./dynamodb-server.ts')).startDynamoDBServer(settings.dynamodbPort)
  : undefined

const faults: FaultHandle[] = []
const calls: ThreadCalls = {
  addFault: (rule) => faults.push(model.faults.add(rule)) - 1,
  faultHits: (fault) => faults[fault]!.hits,
  removeFault: (fault) => faults[fault]!.remove(),
  clearFaults: () => model.faults.clear(),
  advanceClock: (ms) => runningByHand().advance(ms),
  setClock: (date) => runningByHand().set(date),
  stop: async () => {
    await Promise.all([kinesis.close(), dynamodb?.close()])
    // Ends this thread, with whatever still waits for its time in it.
    process.exit()
  },
}

function runningByHand(): ManualServerClock {
  if (manualClock !== undefined) return manualClock
  throw new TypeError(`The local servers run in real time; for a clock to set, start them with { clock: 'manual' }.`)
}

// One after the other: time that is moved by two calls at once would have no order.
let last: Promise<void> = Promise.resolve()
parentPort?.on('message', ({ id, method, args }: ThreadCall) => {
  last = last.then(async () => {
    try {
      const call = calls[method] as (...args: unknown[]) => unknown
      parentPort?.postMessage({ id, value: await call(...args) })
    } catch (error) {
      parentPort?.postMessage({ id, error })
    }
  })
})
parentPort?.postMessage({
  kinesisPort: kinesis.port,
  kinesisTlsPort: kinesis.tlsPort,
  dynamodbPort: dynamodb?.port,
  certificate: certificate?.certificate,
} satisfies Started)
