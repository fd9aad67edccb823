import { describe, expect, test } from 'vitest'
import { HELP, parseCli, UsageError } from './cli.ts'

describe('the command line', () => {
  test('without anything is the whole job', () => {
    expect(parseCli([])).toEqual({
      help: false,
      records: Number.POSITIVE_INFINITY,
      shards: 4,
      limits: false,
      kill: true,
    })
  })

  test('takes every flag', () => {
    const args = [
      '--records',
      '200000',
      '--shards=8',
      '--limits',
      '--no-kill',
      '--input',
      'my.ndjson',
      '--key',
      'user.id',
    ]
    expect(parseCli(args)).toEqual({
      help: false,
      records: 200_000,
      shards: 8,
      limits: true,
      kill: false,
      input: { path: 'my.ndjson', key: 'user.id' },
    })
  })

  test.each([
    [['--recrods', '1'], "Unknown option '--recrods'"],
    [['flights.ndjson'], "Unexpected argument 'flights.ndjson'"],
    [['--records'], "Option '--records <value>' argument missing"],
    [['--records', '-5'], "Option '--records' argument is ambiguous"],
    [['--records', '0'], '--records: expected a whole number of at least 1, got "0"'],
    [['--records', '1e5'], '--records: expected a whole number of at least 1, got "1e5"'],
    [['--shards', 'four'], '--shards: expected a whole number from 1 to 64, got "four"'],
    [['--shards', '65'], '--shards: expected a whole number from 1 to 64, got "65"'],
    [['--limits=yes'], "Option '--limits' does not take an argument"],
    [['--input', 'my.ndjson'], '--input needs --key'],
    [['--key', 'user.id'], '--key needs --input'],
    [['--input', 'my.ndjson', '--key', 'user..id'], 'such as user.id, got "user..id"'],
    [['--input', '', '--key', 'id'], 'expected the path of a file'],
  ])('%j is refused in one line that says why', (args, message) => {
    const parse = () => parseCli(args)
    expect(parse).toThrow(UsageError)
    expect(parse).toThrow(message)
    expect(parse).not.toThrow('\n')
  })

  test('the help names every flag', () => {
    for (const flag of ['--records', '--shards', '--limits', '--no-kill', '--input', '--key', '--help', 'NO_COLOR']) {
      expect(HELP).toContain(flag)
    }
  })
})
