/**
 * Enriches orders by a slow HTTP service: up to 128 calls at once, and the orders of one customer in order, one at a time. A call that
 * fails or isn't answered is made again; an order that the service refuses time and again goes to a file of dead letters, and
 * those behind it go on.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Consumer, type ConsumerRecord, fileDeadLetter, type HandlerContext } from '@shardwise/consumer'
import { startLocal } from '@shardwise/local'
import { Producer } from '@shardwise/producer'
import { startService } from './service.ts'

const CUSTOMERS = 500
const ORDERS = 3_000
/** Without a price: the service refuses them. */
const REFUSED = [1_234, 2_345, 2_789]

interface Order {
  readonly number: number
  readonly customer: string
  readonly price: number | null
}

await using local = await startLocal({ streams: { orders: 4 } })
await using service = await startService()
const folder = await mkdtemp(join(tmpdir(), 'enrichment-'))
const lettersPath = join(folder, 'dead-letters.ndjson')

await using producer = new Producer({ stream: 'orders', clientConfig: local.kinesis })
for (let number = 0; number < ORDERS; number++) {
  const customer = `customer-${number % CUSTOMERS}`
  const order: Order = { number, customer, price: REFUSED.includes(number) ? null : number / 100 }
  await producer.ready
  void producer.put({ partitionKey: customer, data: JSON.stringify(order) })
}
await producer.flush()

const enriched = new Map<string, number[]>()
let settled = 0
let failures = 0
const keep = fileDeadLetter(lettersPath)

const consumer = new Consumer({
  application: 'enrichment',
  stream: 'orders',
  concurrency: 128,
  handlerTimeoutMs: 3_000,
  maxAttempts: 4,
  deadLetter: async (letter, context) => {
    await keep(letter, context)
    settle()
  },
  kinesisConfig: local.kinesis,
  dynamodbConfig: local.dynamodb,
  logger: { debug() {}, info() {}, warn() {}, error() {} },
  onEvent: ({ type }) => {
    if (type === 'handlerFailed') failures++
  },
})

async function enrich(record: ConsumerRecord, { signal }: HandlerContext): Promise<void> {
  const order = record.json<Order>()
  // The signal ends a call that takes longer than handlerTimeoutMs.
  const answer = await fetch(`${service.url}/${order.customer}`, { method: 'POST', body: record.text(), signal })
  if (!answer.ok) throw new Error(`The service answered ${answer.status} for the order ${order.number}`)
  await answer.json()
  enriched.set(order.customer, [...(enriched.get(order.customer) ?? []), order.number])
  settle()
}

function settle(): void {
  if (++settled === ORDERS) void consumer.close()
}

const startedAt = performance.now()
await consumer.run({ eachRecord: enrich })
const elapsedMs = performance.now() - startedAt

const lines = (await readFile(lettersPath, 'utf8')).trimEnd().split('\n')
const letters = lines.map((line) => JSON.parse(Buffer.from(JSON.parse(line).data, 'base64').toString()) as Order)
await rm(folder, { recursive: true })
const numbers = [...enriched.values()]
const checks = {
  'every order is enriched or a dead letter, once': numbers.flat().length + letters.length === ORDERS,
  'the dead letters are the orders that the service refuses':
    letters
      .map(({ number }) => number)
      .toSorted((a, b) => a - b)
      .join() === REFUSED.join(),
  'the orders of each customer are in order': numbers.every(
    (all) => all.join() === all.toSorted((a, b) => a - b).join(),
  ),
}
console.log(
  `${ORDERS} orders in ${(elapsedMs / 1000).toFixed(1)} s, with ${service.calls} calls of which ${failures} failed, at most`,
)
console.log(
  `${service.most} at once; one after the other the calls alone would take ${(service.busyMs / 1000).toFixed(0)} s`,
)
for (const [what, holds] of Object.entries(checks)) console.log(`${holds ? 'ok    ' : 'FAILED'} ${what}`)
process.exitCode = Object.values(checks).every(Boolean) ? 0 : 1
