import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'

const CLI = fileURLToPath(new URL('../src/cli.ts', import.meta.url))
const ANY_PORTS = ['--kinesis-port', '0', '--dynamodb-port', '0']

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'shardwise-local-'))
})
afterEach(() => rmSync(directory, { recursive: true }))

/** Runs the command through a symbolic link, as npx does. */
function start(args: readonly string[]): ChildProcess {
  const link = join(directory, 'shardwise-local.ts')
  symlinkSync(CLI, link)
  return spawn(process.execPath, ['--conditions=shardwise-source', link, ...args])
}

/** What it has printed when it is ready: the lines up to the last variable. */
async function greetingOf(child: ChildProcess, last: string = 'AWS_SECRET_ACCESS_KEY'): Promise<string> {
  let text = ''
  for await (const chunk of child.stdout!.iterator({ destroyOnReturn: false })) {
    text += String(chunk)
    if (text.includes(`export ${last}=`)) return text
  }
  throw new Error(`ended after ${text}`)
}

async function outcomeOf(child: ChildProcess): Promise<{ code: number | null; out: string; err: string }> {
  let out = ''
  let err = ''
  child.stdout!.on('data', (chunk) => (out += String(chunk)))
  child.stderr!.on('data', (chunk) => (err += String(chunk)))
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, out, err }
}

/** Evaluates the greeting in a shell, as one who pastes it, and then runs a program with its variables. */
function runIn(greeting: string, program: string): Promise<string> {
  const script = `${greeting}\nexec "$0" --input-type=module --eval "$1"`
  return new Promise((resolve, reject) => {
    execFile(
      'sh',
      ['-c', script, process.execPath, program],
      { cwd: fileURLToPath(new URL('..', import.meta.url)), timeout: 15_000 },
      (error, stdout, stderr) => (error ? reject(new Error(stderr, { cause: error })) : resolve(stdout)),
    )
  })
}

const SUBSCRIBER = `
  import { DynamoDBClient, ListTablesCommand } from '@aws-sdk/client-dynamodb'
  import * as aws from '@aws-sdk/client-kinesis'
  const kinesis = new aws.KinesisClient()
  const { StreamDescriptionSummary } = await kinesis.send(new aws.DescribeStreamSummaryCommand({ StreamName: 'orders' }))
  await kinesis.send(new aws.PutRecordCommand({ StreamName: 'orders', PartitionKey: 'a', Data: Buffer.from('hello') }))
  const { Consumer } = await kinesis.send(
    new aws.RegisterStreamConsumerCommand({ StreamARN: StreamDescriptionSummary.StreamARN, ConsumerName: 'app' }),
  )
  const { EventStream } = await kinesis.send(new aws.SubscribeToShardCommand({
    ConsumerARN: Consumer.ConsumerARN, ShardId: 'shardId-000000000000', StartingPosition: { Type: 'TRIM_HORIZON' },
  }))
  for await (const { SubscribeToShardEvent: event } of EventStream) {
    if (event.Records.length === 0) continue
    console.log(Buffer.from(event.Records[0].Data).toString(), StreamDescriptionSummary.OpenShardCount)
    break
  }
  if (process.env.AWS_ENDPOINT_URL_DYNAMODB) console.log(await new DynamoDBClient().send(new ListTablesCommand()).then((a) => a.TableNames))
  process.exit()`

describe('the command', () => {
  test.each(['SIGINT', 'SIGTERM'] as const)(
    'prints what lets the SDK reach it by the environment alone, SubscribeToShard too, until %s',
    async (signal) => {
      const child = start([...ANY_PORTS, '--stream', 'orders:1'])
      const outcome = outcomeOf(child)
      expect(await runIn(await greetingOf(child), SUBSCRIBER)).toBe('hello 1\n[]\n')
      child.kill(signal)
      expect(await outcome).toMatchObject({ code: 0, err: '' })
    },
  )

  test('with a certificate file clients use TLS', async () => {
    const file = join(directory, "it's a certificate.pem")
    const child = start([...ANY_PORTS, '--stream', 'orders:1', '--no-dynamodb', '--tls', '--certificate', file])
    const outcome = outcomeOf(child)
    const greeting = await greetingOf(child, 'NODE_EXTRA_CA_CERTS')
    expect(greeting).toContain('export AWS_ENDPOINT_URL_KINESIS=https://127.0.0.1:')
    expect(readFileSync(file, 'utf8')).toContain('-----BEGIN CERTIFICATE-----')
    expect(await runIn(greeting, SUBSCRIBER)).toBe('hello 1\n')
    child.kill('SIGINT')
    expect(await outcome).toMatchObject({ code: 0, err: '' })
  })

  test('ends with 2 and what was expected when its arguments are wrong', async () => {
    expect(await outcomeOf(start(['--strem', 'orders']))).toEqual({
      code: 2,
      out: '',
      err: 'shardwise-local: unknown option --strem; did you mean --stream?\nSee shardwise-local --help.\n',
    })
  })

  test('ends with 1 and names the port when that is in use', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as { port: number }
    const { code, err } = await outcomeOf(start(['--kinesis-port', '0', '--dynamodb-port', String(port)]))
    server.close()
    expect(code).toBe(1)
    expect(err).toBe(
      `shardwise-local: DynamoDB can't listen on 127.0.0.1:${port}: the port is in use; take another one, or 0 for any (EADDRINUSE)\n`,
    )
  })

  test('shows its help and its version', async () => {
    const help = await outcomeOf(start(['--help']))
    expect(help).toMatchObject({ code: 0, err: '' })
    expect(help.out).toContain('shardwise-local --stream orders:4')
    rmSync(join(directory, 'shardwise-local.ts'))
    expect((await outcomeOf(start(['--version']))).out).toMatch(/^\d+\.\d+\.\d+\n$/)
  })
})
