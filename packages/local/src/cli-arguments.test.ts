import { expect, test } from 'vitest'
import { HELP, parseCommand } from './cli-arguments.ts'

test('without arguments the usual ports are taken and no stream is made', () => {
  expect(parseCommand([])).toEqual({
    action: 'start',
    certificateFile: undefined,
    options: {
      streams: {},
      limits: true,
      dynamodb: true,
      tls: false,
      kinesisPort: 4567,
      kinesisTlsPort: 0,
      dynamodbPort: 8000,
    },
  })
})

test('streams have one shard or as many as said', () => {
  expect(parseCommand(['--stream', 'orders:4', '--stream=events'])).toMatchObject({
    options: { streams: { orders: 4, events: 1 } },
  })
})

test('all else is passed on', () => {
  const command = '--kinesis-port 1 --dynamodb-port 2 --kinesis-tls-port 3 --no-limits --no-dynamodb --tls'
  expect(parseCommand([...command.split(' '), '--retention-bytes', '1000', '--certificate', 'c.pem'])).toEqual({
    action: 'start',
    certificateFile: 'c.pem',
    options: {
      streams: {},
      limits: false,
      dynamodb: false,
      tls: true,
      kinesisPort: 1,
      dynamodbPort: 2,
      kinesisTlsPort: 3,
      retentionBytes: 1000,
    },
  })
})

test('help and version go before everything else', () => {
  expect(parseCommand(['-h', '--stream', 'orders'])).toEqual({ action: 'help' })
  expect(parseCommand(['--version'])).toEqual({ action: 'version' })
  expect(HELP).toContain('--retention-bytes <bytes>')
})

test.each([
  [['--strem', 'orders'], 'unknown option --strem; did you mean --stream?'],
  [['orders'], 'expected only options, got "orders"'],
  [['--stream'], '--stream: expected a value, as in --stream <name[:shards]>'],
  [['--stream', '--tls'], '--stream: expected a value'],
  [['--stream', 'orders:0'], '--stream: expected a name and how many shards, such as orders:4, got "orders:0"'],
  [['--stream', 'or ders'], '--stream: expected a name'],
  [['--stream', 'a', '--stream', 'a:2'], '--stream: expected each stream once, got "a" again'],
  [['--kinesis-port', '70000'], '--kinesis-port: expected a whole number from 0 to 65535, got "70000"'],
  [['--kinesis-port', '1', '--kinesis-port', '2'], '--kinesis-port: expected once'],
  [['--retention-bytes', '1GB'], '--retention-bytes: expected a whole number'],
  [['--tls=yes'], '--tls: expected no value, got "yes"'],
  [['--certificate', 'c.pem'], '--certificate: expected together with --tls'],
])('%j is refused with what was expected', (args, message) => {
  expect(() => parseCommand(args)).toThrow(message)
})
