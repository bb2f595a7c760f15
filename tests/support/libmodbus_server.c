/* A Modbus TCP server on libmodbus at 127.0.0.1, port argv[1]. Holding register i holds 7 * i, but for a
   float in each byte order from 100 on; input register i holds 11 * i. Says when it listens; serves one
   client at a time until it is killed. */
#include <errno.h>
#include <modbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REGISTERS 400

/* A is the byte with the sign; `order` names the bytes as they are sent. */
static void put_float(uint16_t *at, float number, const char *order)
{
    uint32_t bits;
    uint8_t sent[4];
    memcpy(&bits, &number, sizeof bits);
    for (int i = 0; i < 4; i++)
        sent[i] = (uint8_t) (bits >> (8 * (3 - (order[i] - 'A'))));
    at[0] = (uint16_t) (sent[0] << 8 | sent[1]);
    at[1] = (uint16_t) (sent[2] << 8 | sent[3]);
}

int main(int argc, char **argv)
{
    uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
    modbus_t *context = modbus_new_tcp("127.0.0.1", argc > 1 ? atoi(argv[1]) : 1502);
    modbus_mapping_t *registers = modbus_mapping_new(0, 0, REGISTERS, REGISTERS);
    if (context == NULL || registers == NULL)
        return 1;
    for (int i = 0; i < REGISTERS; i++) {
        registers->tab_registers[i] = (uint16_t) (7 * i);
        registers->tab_input_registers[i] = (uint16_t) (11 * i);
    }
    put_float(&registers->tab_registers[100], 21.5f, "ABCD");
    put_float(&registers->tab_registers[102], -3.25f, "DCBA");
    put_float(&registers->tab_registers[104], 1e6f, "BADC");
    put_float(&registers->tab_registers[106], 0.125f, "CDAB");
    int listener = modbus_tcp_listen(context, 1);
    if (listener == -1) {
        fprintf(stderr, "%s\n", modbus_strerror(errno));
        return 1;
    }
    puts("listening");
    fflush(stdout);
    while (modbus_tcp_accept(context, &listener) != -1) {
        int length;
        while ((length = modbus_receive(context, query)) >= 0)
            if (length > 0 && modbus_reply(context, query, length, registers) == -1)
                break;
        modbus_close(context);
    }
    return 1;
}
